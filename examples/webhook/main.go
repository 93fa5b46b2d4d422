// Command webhook calls two HTTP services for each order: a bank that honours
// idempotency keys, and a mailer that does not. The calls are rows of the outbox,
// written in the transaction that counts the order. Killed in the middle and run
// again, the bank gets what is in doubt once more and absorbs it; of the mailer
// the one call in doubt lies parked, and the program does what an operator would:
// it asks the mailer, and then discards or redrives it.
//
//	go run ./examples/webhook -folder /tmp/webhook -pause 20ms
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect/httpsend"
	"github.com/rollcall-mq/rollcall/embedded"
)

const orders = 20

func main() {
	folder := flag.String("folder", "", "where log, store and the receivers' ledger lie; default: a temporary folder")
	pause := flag.Duration("pause", 0, "wait of the receivers between doing and answering, to have time for kill -9")
	flag.Parse()
	if err := run(context.Background(), *folder, receivers{pause: *pause}); err != nil {
		fmt.Fprintln(os.Stderr, "webhook:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, folder string, world receivers) (err error) {
	if folder == "" {
		if folder, err = os.MkdirTemp("", "webhook"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	}
	if err := world.open(folder); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, world.close()) }()
	db, err := embedded.Open(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := consume(ctx, db); err != nil {
		return err
	}
	sender, err := httpsend.New(map[string]httpsend.Target{
		"bank": {URL: world.url + "/bank", Networks: loopback, Secret: []byte(secret), Honours: true},
		"mail": {URL: world.url + "/mail", Networks: loopback, Secret: []byte(secret)},
	}, httpsend.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sender.Close(ctx)) }()
	fmt.Println("calling")
	relay := func() error { return rollcall.NewRelay(db.Store(), sender, rollcall.RelayConfig{}).Drain(ctx) }
	if err := relay(); err != nil {
		return err
	}
	if err := decide(ctx, db, &world); err != nil {
		return err
	}
	if err := relay(); err != nil { // what was redriven
		return err
	}
	return world.compare(ctx)
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// consume counts each order and writes its two calls, in one transaction.
func consume(ctx context.Context, db *embedded.DB) error {
	if _, err := db.DB().ExecContext(ctx, `CREATE TABLE IF NOT EXISTS seen (id TEXT)`); err != nil {
		return err
	}
	p := db.Publisher(rollcall.PublisherConfig{})
	var messages []rollcall.Message
	for i := range orders {
		messages = append(messages, rollcall.Message{ID: rollcall.MessageID(fmt.Sprint("order-", i)), Body: fmt.Appendf(nil, `{"order":%d}`, i)})
	}
	for _, r := range p.Publish(ctx, "orders", messages...) {
		if r.Fate != rollcall.Stored {
			return errors.Join(r.Err, p.Close(ctx))
		}
	}
	if err := p.Close(ctx); err != nil {
		return err
	}
	return rollcall.NewConsumer("webhook", db.Source("orders"), db.Store(),
		func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			if _, err := tx.ExecContext(ctx, `INSERT INTO seen VALUES (?)`, string(m.ID)); err != nil {
				return err
			}
			return db.Store().Outbox().Enqueue(ctx, tx, []rollcall.Message{
				{Destination: "http:bank", ID: m.ID, Body: m.Body},
				{Destination: "http:mail", ID: m.ID, Body: m.Body},
			})
		}, rollcall.ConsumerConfig{}).RunUntilEmpty(ctx)
}

// decide is what an operator does with calls in doubt: ask the receiver.
func decide(ctx context.Context, db *embedded.DB, world *receivers) error {
	attempts := db.Store().Outbox().(rollcall.Attempts) // the SQLite store has it
	kept, err := attempts.Kept(ctx, 0, 100)
	if err != nil {
		return err
	}
	for _, row := range kept {
		done, err := world.did(ctx, "mail", httpsend.Key(row.Message.Destination, row.Message.ID))
		if err != nil {
			return err
		}
		what, change := "the receiver has not done it: redriven", attempts.Redrive
		if done {
			what, change = "the receiver has done it: discarded", attempts.Discard
		}
		fmt.Printf("parked: %s for %s, %s%s. %s\n", row.Message.Destination, row.Message.ID, row.Refusal, row.Doubt, what)
		if _, err := change(ctx, []int64{row.ID}); err != nil {
			return err
		}
	}
	return nil
}
