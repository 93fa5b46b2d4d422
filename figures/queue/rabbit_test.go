//go:build linux

package queue

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// rabbit is what is measured on RabbitMQ.
type rabbit struct {
	b       *testing.B
	addr    string
	cluster *rabbitmq.Cluster
	conn    *amqp.Connection
	store   *postgres.Store
	queues  int
}

func openRabbit(b *testing.B) *rabbit {
	b.Helper()
	r := &rabbit{b: b, addr: servers.Start(b, servers.RabbitMQ, servers.Config{}).Addr}
	var err error
	if r.cluster, err = rabbitmq.Open(b.Context(), []string{r.addr}, rabbitmq.Config{}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.cluster.Close)
	if r.conn, err = amqp.Dial("amqp://guest:guest@" + r.addr); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = r.conn.Close() })
	if r.store, err = postgres.Open(b.Context(), servers.Start(b, servers.Postgres15, servers.Config{}).URL(), postgres.Config{}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = r.store.Close() })
	if _, err := r.store.DB().Exec(b.Context(), "CREATE TABLE ledger (body text NOT NULL)"); err != nil {
		b.Fatal(err)
	}
	return r
}

// queue makes a quorum queue.
func (r *rabbit) queue() string {
	r.queues++
	name := fmt.Sprintf("q%d", r.queues)
	if err := r.cluster.Declare(r.b.Context(), rabbitmq.Queue{Name: name}); err != nil {
		r.b.Fatal(err)
	}
	return name
}

// inFlight is how many publishes the bare loop has unconfirmed at most: more is not
// quicker.
const inFlight = 2000

// publishBare is the best loop on the plain client: persistent messages, confirms read
// by another goroutine, a bounded number of them open.
//
// dressed: each message carries what ours do, a stamp and an id among its headers, and is
// mandatory.
func (r *rabbit) publishBare(queue string, n int, dressed bool) time.Duration {
	ch, err := r.conn.Channel()
	if err != nil {
		r.b.Fatal(err)
	}
	defer ch.Close()
	if err := ch.Confirm(false); err != nil {
		r.b.Fatal(err)
	}
	confirms, room, done := ch.NotifyPublish(make(chan amqp.Confirmation, inFlight)), make(chan struct{}, inFlight), make(chan int)
	began := time.Now()
	go func() {
		acked := 0
		for range n {
			if c, open := <-confirms; open && c.Ack {
				acked++
			}
			<-room
		}
		done <- acked
	}()
	body := payload(0)
	for i := range n {
		room <- struct{}{}
		p := amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: fmt.Sprint(i), Body: body}
		if dressed {
			p.Headers = amqp.Table{rollcall.StampHeader: body[:30], rollcall.IDHeader: body[:6]}
			p.CorrelationId, p.Timestamp = fmt.Sprint("c", i), began
		}
		if err := ch.PublishWithContext(r.b.Context(), "", queue, dressed, false, p); err != nil {
			r.b.Fatal(err)
		}
	}
	if acked := <-done; acked != n {
		r.b.Fatalf("%d of %d were confirmed", acked, n)
	}
	return time.Since(began)
}

// publishOurs sends with stamps and confirms.
func (r *rabbit) publishOurs(queue string, n int) time.Duration {
	return publishOurs(r.b, r.cluster.Sender(), queue, n)
}

// batch is how many messages share a transaction.
const batch = 500

// consumeBare reads batches, writes each in a transaction, and acknowledges it at once.
func (r *rabbit) consumeBare(queue string, n int) time.Duration {
	ch, err := r.conn.Channel()
	if err != nil {
		r.b.Fatal(err)
	}
	defer ch.Close()
	if err := ch.Qos(2*batch, 0, false); err != nil {
		r.b.Fatal(err)
	}
	began := time.Now()
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		r.b.Fatal(err)
	}
	for done := 0; done < n; {
		bodies := make([]string, 0, batch)
		var last amqp.Delivery
		for len(bodies) < min(batch, n-done) {
			select {
			case last = <-deliveries:
				bodies = append(bodies, string(last.Body))
			case <-time.After(time.Minute):
				r.b.Fatalf("waited a minute for message %d", done+len(bodies))
			}
		}
		err := pgx.BeginFunc(r.b.Context(), r.store.DB(), func(tx pgx.Tx) error { return write(r.b.Context(), tx, bodies) })
		if err == nil {
			err = last.Ack(true)
		}
		if err != nil {
			r.b.Fatal(err)
		}
		done += len(bodies)
	}
	return time.Since(began)
}

// write is the handler's statement, the same in both.
func write(ctx context.Context, tx pgx.Tx, bodies []string) error {
	_, err := tx.Exec(ctx, "INSERT INTO ledger (body) SELECT unnest($1::text[])", bodies)
	return err
}

// consumeOurs is the same handler, with a row for each key in the Inbox.
func (r *rabbit) consumeOurs(queue string, n int) time.Duration {
	source, err := r.cluster.Source(r.b.Context(), queue, rabbitmq.SourceConfig{})
	if err != nil {
		r.b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.b.Context())
	defer cancel()
	seen := &arrival{want: n, full: cancel}
	handle := func(ctx context.Context, tx pgx.Tx, ms []rollcall.Message) ([]error, error) {
		bodies := make([]string, len(ms))
		for i := range ms {
			bodies[i] = string(ms[i].Body)
		}
		return nil, write(ctx, tx, bodies)
	}
	c := rollcall.NewBatchConsumer(queue, source, r.store, handle, rollcall.ConsumerConfig{Batch: batch, Observer: seen,
		Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByKey}}})
	began := time.Now()
	if err := c.Run(ctx); err != nil && ctx.Err() == nil {
		r.b.Fatal(err)
	}
	return seen.at.Sub(began)
}

// filled is a queue with n messages.
func (r *rabbit) filled(n int) string {
	queue := r.queue()
	publishOurs(r.b, r.cluster.Sender(), queue, n)
	return queue
}

// database is the version of the store's server, as asked from it.
func (r *rabbit) database() (version string) {
	if err := r.store.DB().QueryRow(r.b.Context(), "SHOW server_version").Scan(&version); err != nil {
		r.b.Fatal(err)
	}
	return "PostgreSQL " + version
}
