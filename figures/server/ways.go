package server

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

const (
	textbookName = "textbook: lock, look, work, unlock"
	gatheredName = "gathered handlers"
	serialName   = "serial handlers"
)

func (h *postgresHall) ways() (all []way) {
	c := h.c
	add := func(w way) { all = append(all, w) }
	for _, n := range []int{1, 4} {
		add(way{name: "by stamp", workers: n, target: 0.90, run: h.setBased(memory.Replayable, rollcall.ByStamp)})
		add(way{name: "by position", workers: n, target: 0.90, distinct: true, run: h.setBased(memory.Replayable, rollcall.ByPosition)})
		add(way{name: "Inbox (by key)", workers: n, target: 0.60, run: h.setBased(memory.Replayable, rollcall.ByKey)})
		add(way{name: "Inbox, random keys", workers: n, run: h.randomKeys})
		add(way{name: "the table's own unique key", workers: n, target: 0.75, run: h.ownKey})
		if c.Redis != "" {
			add(way{name: "Record in Redis, pipelined", workers: n, target: 0.20, run: h.record})
			add(way{name: textbookName, workers: n, slower: 100, least: 1000, run: h.textbook})
		}
		add(way{name: serialName, workers: n, slower: 20, least: 2000, run: h.handlers(false, false)})
		add(way{name: gatheredName, workers: n, target: 0.40, slower: 2, run: h.handlers(true, false)})
		if c.Network && c.Redis != "" {
			add(way{name: serialName, workers: n, target: 4, of: textbookName, ofWorkers: 1, slower: 20, least: 2000, run: h.handlers(false, false)})
			add(way{name: gatheredName, workers: n, target: 150, of: textbookName, ofWorkers: 1, slower: 2, run: h.handlers(true, false)})
		}
		add(way{name: "gathered, 0.1 % fail", workers: n, target: 0.50, of: gatheredName, ofWorkers: n, slower: 2, run: h.handlers(true, true)})
	}
	if c.Network && c.Redis != "" {
		add(way{name: serialName, workers: 16, target: 40, of: textbookName, ofWorkers: 1, slower: 10, least: 4000, run: h.handlers(false, false)})
	}
	add(way{name: "by stamp, one sender, competing", workers: 8, target: 0.70, run: h.competing})
	return all
}

// ceiling is F: distinct orders from memory, 500 a transaction, each transaction
// one turn, as many connections as there are parts.
func (h *postgresHall) ceiling(ctx context.Context, l *load) (time.Duration, error) {
	if err := h.fresh(ctx); err != nil {
		return 0, err
	}
	conns, done, err := h.connect(ctx, len(l.distinct))
	if err != nil {
		return 0, err
	}
	defer done()
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	begin := time.Now()
	for i, conn := range conns {
		wg.Go(func() { errs[i] = h.write(ctx, conn, l.distinct[i]) })
	}
	wg.Wait()
	took := time.Since(begin)
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	return took, h.check(ctx, l)
}

const perTransaction = 500

func (h *postgresHall) write(ctx context.Context, conn *pgx.Conn, orders []order) error {
	for len(orders) > 0 {
		part := orders[:min(perTransaction, len(orders))]
		orders = orders[len(part):]
		var b pgx.Batch
		b.Queue("BEGIN")
		h.queue(&b, part, "")
		b.Queue("COMMIT")
		if err := conn.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
	}
	return nil
}

// queue adds the effect of orders, set-based.
func (h *postgresHall) queue(b *pgx.Batch, orders []order, tail string) {
	n := len(orders)
	numbers, accounts, amounts := make([]int64, n), make([]int32, n), make([]int32, n)
	for i, o := range orders {
		numbers[i], accounts[i], amounts[i] = o.Number, o.Account, o.Amount
	}
	insert := "INSERT INTO ~.orders SELECT * FROM unnest($1::bigint[], $2::int[], $3::int[]) AS t(number, account, amount)" + tail
	if tail == "" {
		b.Queue(strings.ReplaceAll(insert, "~", h.schema), numbers, accounts, amounts)
		b.Queue(strings.ReplaceAll(`UPDATE ~.accounts a SET balance = a.balance + s.sum FROM (SELECT account, sum(amount) AS sum
			FROM unnest($1::int[], $2::int[]) AS t(account, amount) GROUP BY account) s WHERE a.id = s.account`, "~", h.schema), accounts, amounts)
		return
	}
	b.Queue(strings.ReplaceAll("WITH fresh AS ("+insert+` RETURNING account, amount), s AS (SELECT account, sum(amount) AS sum FROM fresh GROUP BY account)
		UPDATE ~.accounts a SET balance = a.balance + s.sum FROM s WHERE a.id = s.account`, "~", h.schema), numbers, accounts, amounts)
}

// batch is the handler of set-based effects.
func (h *postgresHall) batch(tail string) rollcall.BatchHandler[pgx.Tx] {
	return func(ctx context.Context, tx pgx.Tx, messages []rollcall.Message) ([]error, error) {
		var b pgx.Batch
		h.queue(&b, parseAll(messages), tail)
		return nil, tx.SendBatch(ctx, &b).Close()
	}
}

func config(watch rollcall.Observer, by rollcall.Strategy) rollcall.ConsumerConfig {
	c := rollcall.ConsumerConfig{Observer: watch, Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{by}}}
	if by == rollcall.ByKey {
		c.Dedup.Key = []string{"id"}
	}
	return c
}

func (h *postgresHall) setBased(shape memory.Shape, by rollcall.Strategy) runner {
	return func(ctx context.Context, l *load) (time.Duration, error) {
		return consume(ctx, h, l, shape, len(l.parts), func(source rollcall.Source, store rollcall.Store[pgx.Tx], watch rollcall.Observer) *rollcall.Consumer[pgx.Tx] {
			return rollcall.NewBatchConsumer(group, source, store, h.batch(""), config(watch, by))
		})
	}
}

const group = "bench"

func (h *postgresHall) randomKeys(ctx context.Context, l *load) (time.Duration, error) {
	l.randomIDs()
	return h.setBased(memory.Replayable, rollcall.ByKey)(ctx, l)
}

// ownKey records nothing: the order's primary key decides.
func (h *postgresHall) ownKey(ctx context.Context, l *load) (time.Duration, error) {
	return consume(ctx, h, l, memory.Replayable, len(l.parts), func(source rollcall.Source, store rollcall.Store[pgx.Tx], watch rollcall.Observer) *rollcall.Consumer[pgx.Tx] {
		return rollcall.NewBatchConsumer(group, source, store, h.batch(" ON CONFLICT DO NOTHING"), config(watch, rollcall.ByNone))
	})
}

// competing: one sender's messages in one queue, dealt to all workers.
func (h *postgresHall) competing(ctx context.Context, l *load) (time.Duration, error) {
	workers := len(l.parts)
	one := newLoad(l.n, 1, false)
	return consume(ctx, h, one, memory.Shared, workers, func(source rollcall.Source, store rollcall.Store[pgx.Tx], watch rollcall.Observer) *rollcall.Consumer[pgx.Tx] {
		return rollcall.NewBatchConsumer(group, source, store, h.sorted(), config(watch, rollcall.ByStamp))
	})
}

// sorted is batch for workers that meet at the accounts: rows are locked in one
// order first.
func (h *postgresHall) sorted() rollcall.BatchHandler[pgx.Tx] {
	return func(ctx context.Context, tx pgx.Tx, messages []rollcall.Message) ([]error, error) {
		orders, accounts := make([]order, len(messages)), make([]int32, len(messages))
		for i, m := range messages {
			orders[i] = parse(m.Body)
			accounts[i] = orders[i].Account
		}
		var b pgx.Batch
		b.Queue(strings.ReplaceAll("SELECT id FROM ~.accounts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", "~", h.schema), accounts)
		h.queue(&b, orders, " ON CONFLICT DO NOTHING") // a copy may be in work elsewhere: its roll tells in the end
		return nil, tx.SendBatch(ctx, &b).Close()
	}
}

// handlers are plain ones, a message each: two statements.
func (h *postgresHall) handlers(gather, fail bool) runner {
	return func(ctx context.Context, l *load) (time.Duration, error) {
		insert := strings.ReplaceAll("INSERT INTO ~.orders VALUES ($1, $2, $3)", "~", h.schema)
		update := strings.ReplaceAll("UPDATE ~.accounts SET balance = balance + $1 WHERE id = $2", "~", h.schema)
		handle := func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
			o := parse(m.Body)
			if _, err := tx.Exec(ctx, insert, o.Number, o.Account, o.Amount); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, update, int64(o.Amount), o.Account); err != nil {
				return err
			}
			if fail && fails(o) {
				return rollcall.Dead(errors.New("the account is closed"))
			}
			return nil
		}
		if fail {
			l.without(fails)
		}
		return consume(ctx, h, l, memory.Replayable, len(l.parts), func(source rollcall.Source, store rollcall.Store[pgx.Tx], watch rollcall.Observer) *rollcall.Consumer[pgx.Tx] {
			c := config(watch, rollcall.ByStamp)
			c.Gather = gather
			return rollcall.NewConsumer(group, source, store, handle, c)
		})
	}
}

// fails: one order in a thousand.
func fails(o order) bool { return o.Number%1000 == 500 }

// without takes what fails out of what is expected.
func (l *load) without(fails func(order) bool) {
	for _, part := range l.distinct {
		for _, o := range part {
			if fails(o) {
				l.orders--
				l.sum -= int64(o.Amount)
			}
		}
	}
}
