package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/embedded"
	"github.com/rollcall-mq/rollcall/pipeline"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// This file is the only list of drivers. Everything else of the command knows
// the contracts alone.

// drivers are the drivers with the modules of their clients.
var drivers = []struct{ Kind, Name, Client string }{
	{"source", "embedded", "modernc.org/sqlite"},
	{"store", "sqlite", "modernc.org/sqlite"},
}

// broker is the source of a pipeline, open for sending and receiving.
type broker struct {
	sender      rollcall.Sender
	source      rollcall.Source
	destination string
	close       func() error
}

// openBroker opens the source of a pipeline and makes its destination if it is
// not there.
func openBroker(ctx context.Context, a *app, f *pipeline.File) (*broker, error) {
	e := f.Source.Embedded
	config := filelog.Config{Retention: e.Retention, OnError: a.backgroundError}
	log, err := openLog(ctx, f.Folder(), e.Destination, e.Partitions, config)
	if errors.Is(err, rollcall.ErrConfig) {
		if e.Partitions > 0 {
			return nil, f.Problem("source.embedded.partitions", "write as many as there are, or take partitions out: it counts when the destination is created", "%s", plain(err))
		}
		return nil, f.Problem("source.embedded.path", "", "%s", plain(err))
	}
	return log, err
}

// openEmbedded opens the embedded log in a folder.
func openEmbedded(ctx context.Context, a *app, folder, destination string) (*broker, error) {
	return openLog(ctx, folder, destination, 0, filelog.Config{OnError: a.backgroundError})
}

func openLog(ctx context.Context, folder, destination string, partitions int, config filelog.Config) (*broker, error) {
	log, err := filelog.Open(filepath.Join(folder, embedded.LogFile), config)
	if err != nil {
		return nil, err
	}
	if partitions > 0 {
		err = log.Create(ctx, destination, partitions)
	} else {
		_, err = log.Sender().Lanes(ctx, destination)
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return &broker{sender: log.Sender(), source: log.Source(destination), destination: destination, close: log.Close}, nil
}

// openStore opens the store of a pipeline. fresh: it may be made.
func openStore(f *pipeline.File, fresh bool) (*sqlite.Store, error) {
	path := f.StorePath()
	if _, err := os.Stat(path); err != nil && !fresh {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	store, err := sqlite.Open(path, sqlite.Config{})
	if errors.Is(err, rollcall.ErrConfig) {
		return nil, f.Problem("store.sqlite.path", "", "%s", plain(err))
	}
	return store, err
}

// demoLease is short: one that sleeps in demo is soon taken for dead.
const demoLease = 500 * time.Millisecond

func demoLog() filelog.Config { return filelog.Config{Partitions: 1, Lease: demoLease} }

func openDemoLog(folder string) (*filelog.Log, error) {
	return filelog.Open(filepath.Join(folder, embedded.LogFile), demoLog())
}

// openDemo opens the embedded pair with the business database as its store.
func openDemo(folder string) (*embedded.DB, error) {
	return embedded.OpenConfig(folder, embedded.Config{Log: demoLog(), StorePath: businessPath(folder, demoRollcall)})
}

func businessPath(folder, pattern string) string { return filepath.Join(folder, pattern+".db") }

// openBusiness opens the business database of a pattern as a program without
// rollcall would.
func openBusiness(folder, pattern string) (*sql.DB, error) {
	return openSQLite(businessPath(folder, pattern), 10*time.Second)
}

func openSQLite(path string, busy time.Duration) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return db, nil
}

// buildEffects makes the handler of a pipeline.
func buildEffects(ctx context.Context, f *pipeline.File, store *sqlite.Store) (rollcall.BatchHandler[tx], error) {
	tables, err := f.Build(ctx, effect.SQL(store.DB()), effect.SQLite())
	if err != nil {
		return nil, err
	}
	if tables == nil {
		return f.HTTP(store.Outbox(), nil), nil
	}
	return f.HTTP(store.Outbox(), tables.HandleBatch), nil
}
