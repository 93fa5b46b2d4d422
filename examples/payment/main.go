// Command payment charges accounts once for each order, though every order is
// sent twice (an impatient user), and whatever is killed: run it on a folder,
// kill -9 it, run it again.
//
//	go run ./examples/payment -folder /tmp/pay -pause 20ms
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/embedded"
)

const orders, price, opening = 100, 7, 1000

func main() {
	folder := flag.String("folder", "", "where log and store lie; default: a temporary folder")
	pause := flag.Duration("pause", 0, "wait in each handler, to have time for kill -9")
	flag.Parse()
	if err := run(context.Background(), *folder, *pause); err != nil {
		fmt.Fprintln(os.Stderr, "payment:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, folder string, pause time.Duration) (err error) {
	if folder == "" {
		if folder, err = os.MkdirTemp("", "payment"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	}
	db, err := embedded.Open(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.DB().ExecContext(ctx, `CREATE TABLE IF NOT EXISTS account (id TEXT PRIMARY KEY, balance INTEGER NOT NULL);
		INSERT INTO account VALUES ('ann', ?) ON CONFLICT DO NOTHING`, opening); err != nil {
		return err
	}
	if err := send(ctx, db); err != nil {
		return err
	}
	fmt.Println("sent", 2*orders, "messages for", orders, "orders")
	charge := func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
		time.Sleep(pause)
		_, err := tx.ExecContext(ctx, `UPDATE account SET balance = balance - ? WHERE id = ?`, price, m.Key)
		return err
	}
	c := rollcall.NewConsumer("billing", db.Source("orders"), db.Store(), charge, rollcall.ConsumerConfig{Batch: 10})
	if err := c.RunUntilEmpty(ctx); err != nil {
		return err
	}
	var balance int
	if err := db.DB().QueryRowContext(ctx, `SELECT balance FROM account WHERE id = 'ann'`).Scan(&balance); err != nil {
		return err
	}
	fmt.Println("ann has", balance)
	if balance != opening-orders*price {
		return fmt.Errorf("ann has %d, want %d", balance, opening-orders*price)
	}
	return nil
}

// send gives each order its own number as the message's id: that is what makes
// the second click, and the second run of this program, a repeat.
func send(ctx context.Context, db *embedded.DB) error {
	p := db.Publisher(rollcall.PublisherConfig{})
	var messages []rollcall.Message
	for i := range orders {
		m := rollcall.Message{ID: rollcall.MessageID(fmt.Sprintf("order-%d", i)), Key: "ann"}
		messages = append(messages, m, m)
	}
	for _, r := range p.Publish(ctx, "orders", messages...) {
		if r.Fate != rollcall.Stored {
			return errors.Join(r.Err, p.Close(ctx))
		}
	}
	return p.Close(ctx)
}
