// Command sarama is a Kafka consumer group as many have it (IBM/sarama), to which
// rollcall.Once was added: the key and the effect are one transaction, the
// message is marked after its COMMIT. Whatever Kafka brings again (a rebalance, a
// crash before the offset was committed) takes effect once.
//
//	go run ./examples/sarama -brokers localhost:9092 -topic orders -database shop.db
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/IBM/sarama"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

func main() {
	brokers := flag.String("brokers", "127.0.0.1:9092", "host:port, several with commas")
	topic := flag.String("topic", "orders", "what to read")
	database := flag.String("database", "shop.db", "SQLite file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Split(*brokers, ","), *topic, *database); err != nil {
		fmt.Fprintln(os.Stderr, "sarama:", err)
		os.Exit(1)
	}
}

// settings of the group: a new one starts at the oldest message, not behind all.
func settings() *sarama.Config {
	c := sarama.NewConfig()
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	return c
}

func run(ctx context.Context, brokers []string, topic, database string) (err error) {
	s, err := open(database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	group, err := sarama.NewConsumerGroup(brokers, "shop", settings())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	for ctx.Err() == nil { // a session ends with each rebalance, and with each failure
		if err := group.Consume(ctx, []string{topic}, s); err != nil {
			return err
		}
	}
	return nil
}

// shop counts orders. It is a sarama.ConsumerGroupHandler.
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

// Setup and Cleanup do nothing.
func (s *shop) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (s *shop) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim works a partition off. What fails ends the session: it is not
// marked, nor is anything behind it, so it comes again.
func (s *shop) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, open := <-claim.Messages():
			if !open {
				return nil
			}
			if err := s.sell(session.Context(), m.Value); err != nil {
				return fmt.Errorf("%s/%d at %d: %w", m.Topic, m.Partition, m.Offset, err)
			}
			session.MarkMessage(m, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

type order struct {
	Number string
	Cents  int
}

// sell is one transaction: the effect, and that it happened. The key is the
// order's number, not the offset: the shop that sends twice is absorbed too.
func (s *shop) sell(ctx context.Context, body []byte) error {
	var o order
	if err := json.Unmarshal(body, &o); err != nil {
		return err // a real shop sets it aside: rollcall.NewConsumer does
	}
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
