// Command transform consumes, transforms and produces: each order becomes an
// invoice line that another consumer adds up. The line goes through the outbox
// of the very transaction that counts the order, so there is never one without
// the other, and a relay that dies sends the same message again, with the same
// number.
//
//	go run ./examples/transform -folder /tmp/transform -pause 10ms
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/embedded"
)

const orders = 60

func main() {
	folder := flag.String("folder", "", "where log and store lie; default: a temporary folder")
	pause := flag.Duration("pause", 0, "wait in each handler, to have time for kill -9")
	flag.Parse()
	if err := run(context.Background(), *folder, *pause); err != nil {
		fmt.Fprintln(os.Stderr, "transform:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, folder string, pause time.Duration) (err error) {
	if folder == "" {
		if folder, err = os.MkdirTemp("", "transform"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	}
	db, err := embedded.Open(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.DB().ExecContext(ctx, `CREATE TABLE IF NOT EXISTS seen (orders INTEGER NOT NULL);
		CREATE TABLE IF NOT EXISTS invoice (cents INTEGER NOT NULL, lines INTEGER NOT NULL);
		INSERT INTO seen SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM seen);
		INSERT INTO invoice SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM invoice)`); err != nil {
		return err
	}
	if err := send(ctx, db); err != nil {
		return err
	}
	fmt.Println("sent", orders, "orders")

	// Consume, transform, and write the product into the outbox: one transaction.
	transform := rollcall.NewConsumer("transform", db.Source("orders"), db.Store(),
		func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			time.Sleep(pause)
			pieces, err := strconv.Atoi(string(m.Body))
			if err != nil {
				return rollcall.Dead(err)
			}
			if _, err := tx.ExecContext(ctx, `UPDATE seen SET orders = orders + 1`); err != nil {
				return err
			}
			return db.Store().Outbox().Enqueue(ctx, tx, []rollcall.Message{{Destination: "invoices", ID: "invoice-of-" + m.ID, Body: fmt.Append(nil, 250*pieces)}})
		}, rollcall.ConsumerConfig{Batch: 5})
	if err := transform.RunUntilEmpty(ctx); err != nil {
		return err
	}
	// Produce. Two relays at once, or one that dies, change nothing.
	if err := rollcall.NewRelay(db.Store(), db.Sender(), rollcall.RelayConfig{Batch: 7}).Drain(ctx); err != nil {
		return err
	}
	add := rollcall.NewConsumer("accounting", db.Source("invoices"), db.Store(),
		func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			time.Sleep(pause)
			_, err := tx.ExecContext(ctx, `UPDATE invoice SET cents = cents + ?, lines = lines + 1`, string(m.Body))
			return err
		}, rollcall.ConsumerConfig{Batch: 5})
	if err := add.RunUntilEmpty(ctx); err != nil {
		return err
	}
	return compare(ctx, db)
}

func compare(ctx context.Context, db *embedded.DB) error {
	var seen, cents, lines int
	if err := db.DB().QueryRowContext(ctx, `SELECT orders, cents, lines FROM seen, invoice`).Scan(&seen, &cents, &lines); err != nil {
		return err
	}
	fmt.Printf("%d orders became %d invoice lines of %d cents in all\n", seen, lines, cents)
	if want := 250 * orders * (orders + 1) / 2; seen != orders || lines != orders || cents != want {
		return fmt.Errorf("want %d orders, as many lines, %d cents", orders, want)
	}
	return nil
}

func send(ctx context.Context, db *embedded.DB) error {
	p := db.Publisher(rollcall.PublisherConfig{})
	var messages []rollcall.Message
	for i := 1; i <= orders; i++ {
		messages = append(messages, rollcall.Message{ID: rollcall.MessageID(fmt.Sprint("order-", i)), Body: strconv.AppendInt(nil, int64(i), 10)})
	}
	for _, r := range p.Publish(ctx, "orders", messages...) {
		if r.Fate != rollcall.Stored {
			return errors.Join(r.Err, p.Close(ctx))
		}
	}
	return p.Close(ctx)
}
