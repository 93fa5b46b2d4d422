package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/tidwall/gjson"
	"github.com/twmb/franz-go/pkg/kgo"
)

// columns are orders as arrays, and the last record that is in them.
type columns struct {
	numbers           []int64
	accounts, amounts []int32
	last              *kgo.Record
}

func newColumns(n int) *columns {
	return &columns{numbers: make([]int64, 0, n), accounts: make([]int32, 0, n), amounts: make([]int32, 0, n)}
}

// add decodes a record.
func (c *columns) add(r *kgo.Record) error {
	o, err := decode(r.Value)
	c.numbers, c.accounts, c.amounts = append(c.numbers, o.Number), append(c.accounts, o.Account), append(c.amounts, o.Amount)
	c.last = r
	return err
}

// decode reads JSON by the fastest decoder at hand.
func decode(body []byte) (o order, err error) {
	if !gjson.ValidBytes(body) {
		return o, fmt.Errorf("no JSON: %q", body)
	}
	seen := 0
	gjson.ParseBytes(body).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "number":
			o.Number = value.Int()
		case "account":
			o.Account = int32(value.Int())
		case "amount":
			o.Amount = int32(value.Int())
		default:
			return true
		}
		seen++
		return seen < 3
	})
	return o, nil
}

// bare works a topic off with the bare client. work gets the records of one
// partition; each partition has a goroutine of its own, and a connection. The
// clock starts when the partitions are assigned, and stops when n records have
// been worked off.
func (h *kafkaHall) bare(ctx context.Context, topic string, parts, n int, marks bool, work func(context.Context, *kgo.Client, *pgx.Conn, []*kgo.Record) error) (time.Duration, error) {
	if err := h.fresh(ctx); err != nil {
		return 0, err
	}
	conns, done, err := h.connect(ctx, parts)
	if err != nil {
		return 0, err
	}
	defer done()
	begun := make(chan time.Time, 1)
	options := []kgo.Opt{kgo.SeedBrokers(h.brokers...), kgo.Dialer(h.dial), kgo.ConsumerGroup(h.group()), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { begun <- time.Now() })}
	if marks {
		options = append(options, kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second))
	} else {
		options = append(options, kgo.DisableAutoCommit())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	queues, errs := make([]chan []*kgo.Record, parts), make([]error, parts)
	var wg sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan []*kgo.Record, 2)
		wg.Go(func() {
			for records := range queues[i] {
				if errs[i] == nil {
					errs[i] = work(ctx, client, conns[i], records)
				}
			}
			errs[i] = errors.Join(errs[i], work(ctx, client, conns[i], nil)) // no more come
		})
	}
	for read := 0; read < n && err == nil; {
		fetches := client.PollFetches(ctx)
		err = fetches.Err()
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			read += len(p.Records)
			if len(p.Records) > 0 {
				queues[p.Partition] <- p.Records
			}
		})
	}
	for _, q := range queues {
		close(q)
	}
	wg.Wait()
	end := time.Now()
	return end.Sub(<-begun), errors.Join(append(errs, err)...)
}

const patience = 20 * time.Minute

// inBatches is F, or the expert's statement: records decoded beside the
// transaction of those before, one turn a transaction, offsets marked after it.
func (h *kafkaHall) inBatches(ctx context.Context, topic string, parts, n int, queue func(*pgx.Batch, *columns)) (time.Duration, error) {
	writers := make(map[*pgx.Conn]*batches)
	var mu sync.Mutex
	return h.bare(ctx, topic, parts, n, true, func(ctx context.Context, client *kgo.Client, conn *pgx.Conn, records []*kgo.Record) error {
		mu.Lock()
		w := writers[conn]
		if w == nil {
			w = &batches{rows: newColumns(bareRows), full: make(chan *columns, 1), ended: make(chan error, 1)}
			writers[conn] = w
			go w.write(ctx, client, conn, queue)
		}
		mu.Unlock()
		return w.add(records)
	})
}

// bareRows are in a transaction, as in those of rollcall's set-based ways.
const bareRows = perTopic

// batches are what one partition is written in.
type batches struct {
	rows  *columns
	full  chan *columns
	ended chan error
}

func (w *batches) add(records []*kgo.Record) error {
	for _, r := range records {
		if err := w.rows.add(r); err != nil {
			return err
		}
		if len(w.rows.numbers) == bareRows {
			w.full <- w.rows
			w.rows = newColumns(bareRows)
		}
	}
	if len(records) > 0 {
		return nil
	}
	if len(w.rows.numbers) > 0 {
		w.full <- w.rows
	}
	close(w.full)
	return <-w.ended
}

func (w *batches) write(ctx context.Context, client *kgo.Client, conn *pgx.Conn, queue func(*pgx.Batch, *columns)) {
	var failed error
	for rows := range w.full {
		if failed != nil {
			continue
		}
		var b pgx.Batch
		queue(&b, rows)
		if failed = conn.SendBatch(ctx, &b).Close(); failed == nil {
			client.MarkCommitRecords(rows.last)
		}
	}
	w.ended <- failed
}

// ceiling is F: the same effects without the repeats, and without any record.
func (h *kafkaHall) ceiling(ctx context.Context, l *load) (time.Duration, error) {
	parts := len(l.parts)
	topic, err := h.topic(ctx, l, true)
	if err != nil {
		return 0, err
	}
	insert := strings.ReplaceAll("INSERT INTO ~.orders SELECT * FROM unnest($1::bigint[], $2::int[], $3::int[])", "~", h.schema)
	update := strings.ReplaceAll(`UPDATE ~.accounts a SET balance = a.balance + s.sum FROM (SELECT account, sum(amount) AS sum
		FROM unnest($1::int[], $2::int[]) AS t(account, amount) GROUP BY account) s WHERE a.id = s.account`, "~", h.schema)
	took, err := h.inBatches(ctx, topic, parts, l.orders, func(b *pgx.Batch, c *columns) {
		b.Queue("BEGIN")
		b.Queue(insert, c.numbers, c.accounts, c.amounts)
		b.Queue(update, c.accounts, c.amounts)
		b.Queue("COMMIT")
	})
	if err != nil {
		return 0, err
	}
	return took, h.check(ctx, l)
}

// expert is the statement that an expert writes by hand: the orders' own key
// decides, in one statement a batch.
func (h *kafkaHall) expert(ctx context.Context, l *load) (time.Duration, error) {
	parts := len(l.parts)
	topic, err := h.topic(ctx, l, false)
	if err != nil {
		return 0, err
	}
	text := strings.ReplaceAll(`WITH fresh AS (INSERT INTO ~.orders SELECT * FROM unnest($1::bigint[], $2::int[], $3::int[]) ON CONFLICT DO NOTHING RETURNING account, amount),
		s AS (SELECT account, sum(amount) AS sum FROM fresh GROUP BY account) UPDATE ~.accounts a SET balance = a.balance + s.sum FROM s WHERE a.id = s.account`, "~", h.schema)
	took, err := h.inBatches(ctx, topic, parts, l.n, func(b *pgx.Batch, c *columns) { b.Queue(text, c.numbers, c.accounts, c.amounts) })
	if err != nil {
		return 0, err
	}
	return took, h.check(ctx, l)
}
