//go:build linux

package specimen_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/postgres"
	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// job is what a worker process is told.
type job struct {
	Pattern, Postgres, Schema, Redis string
	Messages                         int
	Lease                            time.Duration
	At                               fault.Moment // it asks before it goes on from here with the message hit
}

const jobEnv = "ROLLCALL_SPECIMEN_JOB"

// hit is the message that faults are for.
const hit = "order-5"

// work is a worker process: a pattern, or rollcall, over a queue and a cache in
// Redis and a ledger in PostgreSQL.
func work(ctx context.Context, j job) error {
	options, err := redis.ParseURL(j.Redis)
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	db, err := openNumbered(j)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	in := bufio.NewReader(os.Stdin)
	w := &specimen.Worker{DB: db, Cache: redisCache{client, j.Schema}, PID: os.Getpid(),
		Charge: func(context.Context, specimen.Message) error { return nil },
		Log:    func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
		At: func(_ context.Context, moment fault.Moment, m specimen.Message) error {
			if moment != j.At || m.ID != hit {
				return nil
			}
			fmt.Println("at", moment)
			_, err := in.ReadString('\n')
			return err
		}}
	q := &streamQueue{client: client, name: j.Schema, consumer: fmt.Sprint(os.Getpid()), messages: j.Messages, lease: j.Lease}
	w.Queue = q
	if j.Pattern == "rollcall" {
		return runOnce(ctx, j, w)
	}
	pattern, err := specimen.Find(j.Pattern)
	if err != nil {
		return err
	}
	if pattern.OwnOffsets {
		w.Queue = &ownedLog{streamQueue: q, db: db}
	}
	return pattern.Run(ctx, w)
}

// runOnce is rollcall where the patterns are: the same queue, ledger and moments.
func runOnce(ctx context.Context, j job, w *specimen.Worker) error {
	store, err := postgres.Open(ctx, j.Postgres, postgres.Config{Schema: j.Schema, NoMigrate: true})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	once := func(m specimen.Message) error {
		if err := w.At(ctx, fault.BeforeEffect, m); err != nil {
			return err
		}
		err := pgx.BeginFunc(ctx, store.DB(), func(tx pgx.Tx) error {
			_, err := rollcall.Once(ctx, store.Results(tx), rollcall.OnceKey{Scope: "orders", Key: m.ID}, func(ctx context.Context) (bool, error) {
				for _, text := range []string{
					fmt.Sprintf("INSERT INTO %s.ledger (id, customer, cents, pid, at) VALUES ('%s', '', 0, %d, 0)", j.Schema, m.ID, w.PID),
					fmt.Sprintf("UPDATE %s.balance SET cents = cents + 0", j.Schema),
				} {
					if _, err := tx.Exec(ctx, text); err != nil {
						return false, err
					}
				}
				return true, w.At(ctx, fault.InEffect, m)
			})
			return errors.Join(err, w.At(ctx, fault.BeforeCommit, m))
		})
		if err == nil {
			err = w.At(ctx, fault.AfterEffect, m)
		}
		if err == nil {
			err = w.At(ctx, fault.BeforeSettle, m)
		}
		return err
	}
	for {
		m, err := w.Queue.Receive(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			if err = once(m); err == nil {
				err = w.Queue.Ack(ctx, m)
			}
		}
		if err != nil {
			return err
		}
	}
}

// child runs the job of a worker process.
func child(text string) {
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = work(ctx, j)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// openNumbered opens a pool that takes ? for values, as the patterns write them.
func openNumbered(j job) (*sql.DB, error) {
	config, err := pgx.ParseConfig(j.Postgres)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["search_path"] = j.Schema
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	return sql.OpenDB(numbered{stdlib.GetConnector(*config)}), nil
}

func numberedText(text string) string {
	for n := 1; ; n++ {
		before, after, found := strings.Cut(text, "?")
		if !found {
			return text
		}
		text = before + fmt.Sprint("$", n) + after
	}
}
