// Command stock deducts from a warehouse by version: each deduction says which
// version of the article it was computed from, and is written only if the row
// is still at the version before. So a repeat changes nothing, one that comes
// too early waits, and nothing is sold that is not there.
//
//	go run ./examples/stock
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/embedded"
)

const inStock, buyers = 25, 30

// deduction is version n of the article: one piece less than version n-1.
type deduction struct {
	Article string `json:"article"`
	Version int    `json:"version"`
}

func main() {
	folder := flag.String("folder", "", "where log and store lie; default: a temporary folder")
	pause := flag.Duration("pause", 0, "wait in each handler, to have time for kill -9")
	flag.Parse()
	if err := run(context.Background(), *folder, *pause); err != nil {
		fmt.Fprintln(os.Stderr, "stock:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, folder string, pause time.Duration) (err error) {
	if folder == "" {
		if folder, err = os.MkdirTemp("", "stock"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	}
	db, err := embedded.Open(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.DB().ExecContext(ctx, `CREATE TABLE IF NOT EXISTS stock (article TEXT PRIMARY KEY, pieces INTEGER NOT NULL, version INTEGER NOT NULL);
		INSERT INTO stock VALUES ('bottle', ?, 0) ON CONFLICT DO NOTHING`, inStock); err != nil {
		return err
	}
	if err := send(ctx, db); err != nil {
		return err
	}
	fmt.Println("sent", buyers, "deductions, backwards, each twice")
	c := rollcall.NewConsumer("warehouse", db.Source("deductions"), db.Store(),
		func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			time.Sleep(pause)
			return deduct(ctx, tx, m)
		}, rollcall.ConsumerConfig{Batch: 10, Retry: rollcall.RetryConfig{First: 5 * time.Millisecond, Most: 50 * time.Millisecond}})
	if err := c.RunUntilEmpty(ctx); err != nil {
		return err
	}
	var pieces, version int
	if err := db.DB().QueryRowContext(ctx, `SELECT pieces, version FROM stock WHERE article = 'bottle'`).Scan(&pieces, &version); err != nil {
		return err
	}
	fmt.Printf("%d pieces left at version %d; %d buyers were told that it is sold out\n", pieces, version, buyers-inStock)
	if pieces != 0 || version != buyers {
		return fmt.Errorf("%d pieces at version %d, want 0 at %d", pieces, version, buyers)
	}
	return nil
}

// deduct writes version n over version n-1. Zero rows is never a success: the
// row says whether the message is stale or early.
func deduct(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
	var d deduction
	if err := json.Unmarshal(m.Body, &d); err != nil {
		return rollcall.Dead(err)
	}
	result, err := tx.ExecContext(ctx, `UPDATE stock SET pieces = max(0, pieces - 1), version = ? WHERE article = ? AND version = ?`,
		d.Version, d.Article, d.Version-1)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	var version int
	if err := tx.QueryRowContext(ctx, `SELECT version FROM stock WHERE article = ?`, d.Article).Scan(&version); err != nil {
		return err
	}
	if version >= d.Version {
		return rollcall.Stale
	}
	return rollcall.Early
}

// send sends the newest first, and each twice.
func send(ctx context.Context, db *embedded.DB) error {
	var messages []rollcall.Message
	for version := buyers; version > 0; version-- {
		body, err := json.Marshal(deduction{"bottle", version})
		if err != nil {
			return err
		}
		m := rollcall.Message{ID: rollcall.MessageID(fmt.Sprint("bottle-", version)), Key: "bottle", Body: body}
		messages = append(messages, m, m)
	}
	p := db.Publisher(rollcall.PublisherConfig{})
	for _, r := range p.Publish(ctx, "deductions", messages...) {
		if r.Fate != rollcall.Stored {
			return errors.Join(r.Err, p.Close(ctx))
		}
	}
	return p.Close(ctx)
}
