// Command amqp is a RabbitMQ consumer as many have it (amqp091-go), to which
// rollcall.Once was added: the key and the effect are one transaction, the ack
// comes after its COMMIT. Whatever RabbitMQ brings again takes effect once.
//
//	go run ./examples/amqp -url amqp://guest:guest@localhost -queue orders -database shop.db
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

func main() {
	url := flag.String("url", "amqp://guest:guest@127.0.0.1", "RabbitMQ")
	queue := flag.String("queue", "orders", "a durable queue")
	database := flag.String("database", "shop.db", "SQLite file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url, *queue, *database); err != nil {
		fmt.Fprintln(os.Stderr, "amqp:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url, queue, database string) (err error) {
	s, err := open(database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	connection, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }() // what is not acked comes again
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	if err := channel.Qos(50, 0, false); err != nil {
		return err
	}
	const autoAck = false // an ack before the work loses what is in work
	deliveries, err := channel.ConsumeWithContext(ctx, queue, "", autoAck, false, false, false, nil)
	if err != nil {
		return err
	}
	for d := range deliveries {
		if err := s.deliver(ctx, d); err != nil {
			fmt.Fprintln(os.Stderr, "amqp:", err)
		}
	}
	return ctx.Err()
}

// shop counts orders.
type shop struct{ store *sqlite.Store }

func open(path string) (*shop, error) {
	store, err := sqlite.Open(path, sqlite.Config{})
	if err != nil {
		return nil, err
	}
	// Nothing in this table refuses a second sale.
	if _, err := store.DB().Exec(`CREATE TABLE IF NOT EXISTS sale (number TEXT, cents INTEGER)`); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &shop{store}, nil
}

type order struct {
	Number string
	Cents  int
}

// deliver acks what is done, done before or of no use, and gives back the rest.
func (s *shop) deliver(ctx context.Context, d amqp.Delivery) error {
	var o order
	if err := json.Unmarshal(d.Body, &o); err != nil || o.Number == "" {
		return errors.Join(fmt.Errorf("message %q is no order: %w", d.MessageId, err), d.Reject(false)) // to the dead-letter exchange
	}
	err := s.sell(ctx, o, d.Body)
	switch {
	case errors.Is(err, rollcall.ErrKeyReused): // two orders bear one number: no repeat, a finding
		return errors.Join(err, d.Reject(false))
	case err != nil: // whatever it was, also a COMMIT without an answer: the next delivery finds out
		return errors.Join(err, d.Nack(false, true))
	}
	return d.Ack(false)
}

// sell is one transaction: the effect, and that it happened. The key is the
// order's number, not the delivery's: the shop that sends twice is absorbed too.
func (s *shop) sell(ctx context.Context, o order, body []byte) error {
	tx, err := s.store.DB().BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	key := rollcall.OnceKey{Scope: "sales", Key: o.Number, Content: body}
	_, err = rollcall.Once(ctx, s.store.Results(tx), key, func(ctx context.Context) ([]byte, error) {
		_, err := tx.ExecContext(ctx, `INSERT INTO sale VALUES (?, ?)`, o.Number, o.Cents)
		return nil, err
	})
	if err != nil {
		return err
	}
	return tx.Commit()
}
