package postgres_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/crashtest"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

func TestMain(m *testing.M) {
	if crashtest.Child(crashStorage) || crashtest.RecordChild(openClaims) || crashtest.LockChild(guarded) {
		return
	}
	if err := flag.Set("test.parallel", "4"); err != nil { // most of the time they wait for disks, timeouts and each other
		panic(err)
	}
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var crashStorage = crashtest.Storage[pgx.Tx]{
	Open: func(ctx context.Context, url, schema string) (rollcall.Store[pgx.Tx], func() error, error) {
		s, err := postgres.Open(ctx, url, postgres.Config{Schema: schema})
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	},
	Log: func(folder string) (rollcall.Source, rollcall.Sender, func() error, error) {
		l, err := filelog.Open(filepath.Join(folder, "log.db"), filelog.Config{Partitions: 4, Lease: time.Second})
		if err != nil {
			return nil, nil, nil, err
		}
		return l.Source("orders"), l.Sender(), l.Close, nil
	},
	Record: func(ctx context.Context, tx pgx.Tx, schema string, n int64) error {
		_, err := tx.Exec(ctx, "INSERT INTO "+schema+".ledger (number) VALUES ($1)", n)
		return err
	},
	Ledger: func(ctx context.Context, url, schema string) (map[int64]int, error) {
		c, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, err
		}
		defer func() { _ = c.Close(ctx) }()
		rows, err := c.Query(ctx, "SELECT number, count(*) FROM "+schema+".ledger GROUP BY number")
		if err != nil {
			return nil, err
		}
		out := make(map[int64]int)
		var n int64
		var times int
		_, err = pgx.ForEachRow(rows, []any{&n, &times}, func() error { out[n] = times; return nil })
		return out, err
	},
	CutAll: func(ctx context.Context, url string) error {
		c, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close(ctx) }()
		_, err = c.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
		return err
	},
}

// TestCrash: workers and PostgreSQL are killed, connections are cut, and each of
// 50,000 messages takes effect once.
func TestCrash(t *testing.T) {
	loads := map[string]crashtest.Load{
		"one sender": {Messages: 50_000, Senders: 1, Workers: 2, WorkerKills: 8, ServerKills: 4, Cuts: 8},
		"many senders, gathered": {Messages: 50_000, Senders: 40, Workers: 2, Gather: true,
			WorkerKills: 5, ServerKills: 3, Cuts: 3},
		"by key": {Messages: 50_000, Senders: 1, Workers: 2, By: []rollcall.Strategy{rollcall.ByKey}, WorkerKills: 4, ServerKills: 3, Cuts: 3},
	}
	for version, spec := range versions {
		for name, load := range loads {
			t.Run(version+", "+name, func(t *testing.T) {
				server := servers.Start(t, spec, servers.Config{})
				schema := schema()
				s, err := postgres.Open(t.Context(), server.URL(), postgres.Config{Schema: schema})
				if err != nil {
					t.Fatal(err)
				}
				exec(t, s, "CREATE TABLE "+schema+".ledger (number bigint NOT NULL)")
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				t.Logf("PostgreSQL %s", s.Version())
				crashtest.Run(t, crashStorage, server, schema, load)
			})
		}
	}
}
