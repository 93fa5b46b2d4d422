package server

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rollcall-mq/rollcall"
	driver "github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/effect/pgxeffect"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

const (
	tablesName    = "table effects, insert and add"
	expertName    = "expert's statement, own key"
	kafkaTextbook = "textbook: look, work, commit the offset"
)

func (h *kafkaHall) ways() (all []way) {
	add := func(w way) { all = append(all, w) }
	for _, n := range []int{1, 4} {
		add(way{name: expertName, workers: n, run: h.expert})
		add(way{name: tablesName, workers: n, target: 0.80, run: h.tables})
		add(way{name: "batch handler, arrays", workers: n, target: 0.80, run: h.arrays})
		add(way{name: kafkaTextbook, workers: n, of: kafkaTextbook, ofWorkers: n, slower: 300, least: 200, run: h.perMessage})
		target := 0.0
		if h.c.Network && n == 1 {
			target = 150
		}
		add(way{name: serialName, workers: n, of: kafkaTextbook, ofWorkers: n, slower: 100, least: 500, run: h.each(false)})
		add(way{name: gatheredName, workers: n, target: target, of: kafkaTextbook, ofWorkers: n, slower: 10, least: 2000, run: h.each(true)})
	}
	return all
}

// perTopic is the batch of the set-based ways.
const perTopic = 2000

// arrival is an observer that knows when all orders have been applied.
type arrival struct {
	want    int64
	applied atomic.Int64
	copies  atomic.Int64
	begun   chan time.Time // partitions are assigned
	all     chan time.Time
}

func newArrival(want int) *arrival {
	return &arrival{want: int64(want), begun: make(chan time.Time, 1), all: make(chan time.Time, 1)}
}

// Observe implements rollcall.Observer.
func (a *arrival) Observe(e rollcall.Event) {
	switch e := e.(type) {
	case rollcall.Owned:
		send(a.begun)
	case rollcall.Committed:
		a.copies.Add(int64(e.Duplicates))
		if n := a.applied.Add(e.Counts.Applied); n >= a.want {
			send(a.all)
		}
	}
}

// send keeps the first.
func send(c chan time.Time) {
	select {
	case c <- time.Now():
	default:
	}
}

// kafkaMaker makes the consumer of a member.
type kafkaMaker func(group string, source rollcall.Source, store *postgres.Store, watch rollcall.Observer) (*rollcall.Consumer[pgx.Tx], error)

// work works a load off with rollcall: one member, a worker a partition. The
// clock starts when the partitions are assigned, as F's does.
func (h *kafkaHall) work(ctx context.Context, l *load, consumer kafkaMaker) (time.Duration, error) {
	topic, err := h.topic(ctx, l, false)
	if err != nil {
		return 0, err
	}
	if err := h.fresh(ctx); err != nil {
		return 0, err
	}
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	watch := newArrival(l.orders)
	m, err := h.member(ctx, topic, h.group(), watch, consumer)
	if err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- m.consumer.Run(ctx) }()
	select {
	case end := <-watch.all:
		stop()
		err = m.close(<-ended)
		if err == nil {
			err = h.check(context.WithoutCancel(ctx), l)
		}
		return end.Sub(<-watch.begun), err
	case err = <-ended:
		return 0, fmt.Errorf("the run ended after %d of %d orders: %w", watch.applied.Load(), l.orders, m.close(err))
	}
}

// member is a consumer with connections of its own.
type member struct {
	cluster  *driver.Cluster
	store    *postgres.Store
	consumer *rollcall.Consumer[pgx.Tx]
}

func (h *kafkaHall) member(ctx context.Context, topic, group string, watch rollcall.Observer, consumer kafkaMaker) (m member, err error) {
	if m.cluster, err = driver.Open(ctx, h.brokers, driver.Config{Dial: h.dial, Warn: func(string) {}}); err != nil {
		return m, err
	}
	source, err := m.cluster.Source(ctx, topic, driver.SourceConfig{})
	if err != nil {
		return m, m.close(err)
	}
	if m.store, err = postgres.Open(ctx, h.url, postgres.Config{Schema: h.schema}); err != nil {
		return m, m.close(err)
	}
	if m.consumer, err = consumer(group, source, m.store, watch); err != nil {
		return m, m.close(err)
	}
	return m, nil
}

func (m member) close(err error) error {
	m.cluster.Close()
	if m.store != nil {
		if e := m.store.Close(); err == nil {
			err = e
		}
	}
	return err
}

// tables is what a pipeline does.
func (h *kafkaHall) tables(ctx context.Context, l *load) (time.Duration, error) {
	return h.work(ctx, l, h.tablesConsumer)
}

func (h *kafkaHall) tablesConsumer(group string, source rollcall.Source, store *postgres.Store, watch rollcall.Observer) (*rollcall.Consumer[pgx.Tx], error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, h.url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	list := []effect.Table{
		{Name: "orders", Mode: effect.Insert, Columns: map[string]string{"number": "payload.number", "account": "payload.account", "amount": "payload.amount"}},
		{Name: "accounts", Mode: effect.Add, Key: []string{"id"}, Columns: map[string]string{"id": "payload.account", "balance": "payload.amount"}},
	}
	tables, err := effect.NewTablesOn(ctx, pgxeffect.Conn(conn), effect.PostgreSQL(), list)
	if err != nil {
		return nil, err
	}
	return rollcall.NewBatchConsumer(group, source, store, effect.BatchHandler(tables, pgxeffect.Tx), rollcall.ConsumerConfig{Observer: watch, Batch: perTopic}), nil
}

// arrays is a batch handler written by hand, with F's statements.
func (h *kafkaHall) arrays(ctx context.Context, l *load) (time.Duration, error) {
	return h.work(ctx, l, func(group string, source rollcall.Source, store *postgres.Store, watch rollcall.Observer) (*rollcall.Consumer[pgx.Tx], error) {
		handle := func(ctx context.Context, tx pgx.Tx, messages []rollcall.Message) ([]error, error) {
			orders := make([]order, len(messages))
			for i, m := range messages {
				var err error
				if orders[i], err = decode(m.Body); err != nil {
					return nil, err
				}
			}
			var b pgx.Batch
			h.queue(&b, orders, "")
			return nil, tx.SendBatch(ctx, &b).Close()
		}
		return rollcall.NewBatchConsumer(group, source, store, handle, rollcall.ConsumerConfig{Observer: watch, Batch: perTopic}), nil
	})
}

// each is a plain handler, a message each: two statements.
func (h *kafkaHall) each(gather bool) runner {
	return func(ctx context.Context, l *load) (time.Duration, error) {
		return h.work(ctx, l, h.eachConsumer(gather))
	}
}

func (h *kafkaHall) eachConsumer(gather bool) kafkaMaker {
	insert := strings.ReplaceAll("INSERT INTO ~.orders VALUES ($1, $2, $3)", "~", h.schema)
	update := strings.ReplaceAll("UPDATE ~.accounts SET balance = balance + $1 WHERE id = $2", "~", h.schema)
	handle := func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
		o, err := decode(m.Body)
		if err != nil {
			return rollcall.Dead(err)
		}
		if _, err := tx.Exec(ctx, insert, o.Number, o.Account, o.Amount); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, update, int64(o.Amount), o.Account)
		return err
	}
	return func(group string, source rollcall.Source, store *postgres.Store, watch rollcall.Observer) (*rollcall.Consumer[pgx.Tx], error) {
		return rollcall.NewConsumer(group, source, store, handle, rollcall.ConsumerConfig{Observer: watch, Gather: gather}), nil
	}
}

// perMessage is the pattern that articles teach: look whether the id was
// processed, the work and the mark in a transaction, the offset committed. One
// message after the other.
func (h *kafkaHall) perMessage(ctx context.Context, l *load) (time.Duration, error) {
	parts := len(l.parts)
	topic, err := h.topic(ctx, l, false)
	if err != nil {
		return 0, err
	}
	took, err := h.bare(ctx, topic, parts, l.n, false, func(ctx context.Context, client *kgo.Client, conn *pgx.Conn, records []*kgo.Record) error {
		for _, r := range records {
			if err := h.lookAndWork(ctx, conn, r); err != nil {
				return err
			}
			if err := client.CommitRecords(ctx, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return took, h.check(ctx, l)
}

func (h *kafkaHall) lookAndWork(ctx context.Context, conn *pgx.Conn, r *kgo.Record) error {
	text := func(s string) string { return strings.ReplaceAll(s, "~", h.schema) }
	id := ""
	for _, header := range r.Headers {
		if header.Key == rollcall.IDHeader {
			id = string(header.Value)
		}
	}
	var done bool
	if err := conn.QueryRow(ctx, text("SELECT EXISTS (SELECT 1 FROM ~.processed WHERE id = $1)"), id).Scan(&done); err != nil || done {
		return err
	}
	o, err := decode(r.Value)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, text("INSERT INTO ~.orders VALUES ($1, $2, $3)"), o.Number, o.Account, o.Amount); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, text("UPDATE ~.accounts SET balance = balance + $1 WHERE id = $2"), int64(o.Amount), o.Account); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, text("INSERT INTO ~.processed VALUES ($1)"), id)
		return err
	})
}
