package server

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

func (h *mysqlHall) ways() (all []way) {
	add := func(w way) { all = append(all, w) }
	for _, n := range []int{1, 4} {
		add(way{name: "by stamp", workers: n, target: 0.90, run: h.setBased(rollcall.ByStamp)})
		add(way{name: "by position", workers: n, target: 0.90, distinct: true, run: h.setBased(rollcall.ByPosition)})
		add(way{name: "Inbox (by key)", workers: n, target: 0.60, run: h.setBased(rollcall.ByKey)})
		add(way{name: "the table's own unique key", workers: n, run: h.ownKey})
		add(way{name: serialName, workers: n, slower: 20, least: 1000, run: h.serial})
	}
	return all
}

// ceiling is F: a transaction is one packet of four statements.
func (h *mysqlHall) ceiling(ctx context.Context, l *load) (time.Duration, error) {
	if err := h.fresh(ctx); err != nil {
		return 0, err
	}
	config, err := driver.ParseDSN(h.dsn)
	if err != nil {
		return 0, err
	}
	config.MultiStatements, config.MaxAllowedPacket = true, 0
	pool, err := sql.Open("mysql", config.FormatDSN())
	if err != nil {
		return 0, err
	}
	defer func() { _ = pool.Close() }()
	conns := make([]*sql.Conn, len(l.distinct))
	for i := range conns {
		if conns[i], err = pool.Conn(ctx); err != nil {
			return 0, err
		}
		defer func() { _ = conns[i].Close() }()
		if _, err := conns[i].ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"); err != nil {
			return 0, err
		}
	}
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

func (h *mysqlHall) write(ctx context.Context, conn *sql.Conn, orders []order) error {
	for len(orders) > 0 {
		part := orders[:min(perTransaction, len(orders))]
		orders = orders[len(part):]
		if _, err := conn.ExecContext(ctx, "BEGIN;"+h.insert(part)+";"+h.update(part)+";COMMIT"); err != nil {
			return err
		}
	}
	return nil
}

// insert is the orders, as one statement. Numbers need no quotes.
func (h *mysqlHall) insert(orders []order) string {
	b := append(make([]byte, 0, 64+24*len(orders)), h.text("INSERT INTO ~.orders VALUES ")...)
	for i, o := range orders {
		b = tuple(b, i, '(', ')', o.Number, int64(o.Account), int64(o.Amount))
	}
	return string(b)
}

// update is the balances, summed up here. Of a join with rows of UNION ALL, ON
// DUPLICATE KEY UPDATE and this list as JSON, JSON was the fastest on both servers
// (figures beside each other: docs/figures-mysql.md).
func (h *mysqlHall) update(orders []order) string {
	sums := make(map[int32]int64, len(orders))
	for _, o := range orders {
		sums[o.Account] += int64(o.Amount)
	}
	ids := make([]int32, 0, len(sums))
	for id := range sums {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	b := append(make([]byte, 0, 256+16*len(ids)), "UPDATE JSON_TABLE('["...)
	for i, id := range ids {
		b = tuple(b, i, '[', ']', int64(id), sums[id])
	}
	return string(append(b, h.text("]', '$[*]' COLUMNS (id INT PATH '$[0]', sum BIGINT PATH '$[1]')) s STRAIGHT_JOIN ~.accounts a ON a.id = s.id SET a.balance = a.balance + s.sum")...))
}

// tuple appends the row number i.
func tuple(b []byte, i int, open, end byte, values ...int64) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	for n, v := range values {
		if n == 0 {
			b = append(b, open)
		} else {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, v, 10)
	}
	return append(b, end)
}

func (h *mysqlHall) effect(ctx context.Context, tx *sql.Tx, orders []order) error {
	if len(orders) == 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, h.insert(orders)); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, h.update(orders))
	return err
}

func parseAll(messages []rollcall.Message) []order {
	orders := make([]order, len(messages))
	for i, m := range messages {
		orders[i] = parse(m.Body)
	}
	return orders
}

func (h *mysqlHall) setBased(by rollcall.Strategy) runner {
	return func(ctx context.Context, l *load) (time.Duration, error) {
		handle := func(ctx context.Context, tx *sql.Tx, messages []rollcall.Message) ([]error, error) {
			return nil, h.effect(ctx, tx, parseAll(messages))
		}
		return h.batches(ctx, l, handle, by)
	}
}

func (h *mysqlHall) batches(ctx context.Context, l *load, handle rollcall.BatchHandler[*sql.Tx], by rollcall.Strategy) (time.Duration, error) {
	return consume(ctx, h, l, memory.Replayable, len(l.parts), func(source rollcall.Source, store rollcall.Store[*sql.Tx], watch rollcall.Observer) *rollcall.Consumer[*sql.Tx] {
		return rollcall.NewBatchConsumer(group, source, store, handle, config(watch, by))
	})
}

// ownKey records nothing: which orders are there already is asked first. The
// partition has one owner, so that nobody inserts them in between; if somebody
// did, the primary key would refuse.
func (h *mysqlHall) ownKey(ctx context.Context, l *load) (time.Duration, error) {
	handle := func(ctx context.Context, tx *sql.Tx, messages []rollcall.Message) ([]error, error) {
		orders := parseAll(messages)
		there, err := h.there(ctx, tx, orders)
		if err != nil {
			return nil, err
		}
		return nil, h.effect(ctx, tx, slices.DeleteFunc(orders, func(o order) bool {
			known := there[o.Number]
			there[o.Number] = true
			return known
		}))
	}
	return h.batches(ctx, l, handle, rollcall.ByNone)
}

func (h *mysqlHall) there(ctx context.Context, tx *sql.Tx, orders []order) (map[int64]bool, error) {
	b := []byte(h.text("SELECT number FROM ~.orders WHERE number IN ("))
	for i, o := range orders {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, o.Number, 10)
	}
	rows, err := tx.QueryContext(ctx, string(append(b, ')')))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	found := make(map[int64]bool, len(orders))
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		found[n] = true
	}
	return found, rows.Err()
}

// serial is a plain handler, a message each: two statements.
func (h *mysqlHall) serial(ctx context.Context, l *load) (time.Duration, error) {
	insert, update := h.text("INSERT INTO ~.orders VALUES (?, ?, ?)"), h.text("UPDATE ~.accounts SET balance = balance + ? WHERE id = ?")
	handle := func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
		o := parse(m.Body)
		if _, err := tx.ExecContext(ctx, insert, o.Number, o.Account, o.Amount); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, update, o.Amount, o.Account)
		return err
	}
	return consume(ctx, h, l, memory.Replayable, len(l.parts), func(source rollcall.Source, store rollcall.Store[*sql.Tx], watch rollcall.Observer) *rollcall.Consumer[*sql.Tx] {
		return rollcall.NewConsumer(group, source, store, handle, config(watch, rollcall.ByStamp))
	})
}
