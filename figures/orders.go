package figures

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/embedded"
)

const (
	topic       = "orders"
	group       = "figures"
	ordersTable = `CREATE TABLE orders (id TEXT PRIMARY KEY, account INTEGER NOT NULL, amount INTEGER NOT NULL,
		status TEXT NOT NULL, note TEXT NOT NULL) WITHOUT ROWID`
	insertOrder = "INSERT INTO orders (id, account, amount, status, note) VALUES (?, ?, ?, ?, ?)"
)

// order is one row, and as JSON one message of about 120 bytes.
type order struct {
	ID      string `json:"id"`
	Account int64  `json:"account"`
	Amount  int64  `json:"amount"`
	Status  string `json:"status"`
	Note    string `json:"note"`
}

func newOrders(n int) []order {
	out := make([]order, n)
	for i := range out {
		out[i] = order{fmt.Sprintf("order-%012d", i), int64(i % 1000), int64(i%100000) + 1, "paid", "please leave it at the door"}
	}
	return out
}

// newMessages are the orders as a sender has them. ownID: the order's id is the
// message's, so that every message has a DedupKey.
func newMessages(b Stage, orders []order, ownID bool) []rollcall.Message {
	b.Helper()
	out := make([]rollcall.Message, len(orders))
	for i, o := range orders {
		body, err := json.Marshal(o)
		must(b, err)
		out[i] = rollcall.Message{Key: fmt.Sprint("account-", o.Account), Body: body}
		if ownID {
			out[i].ID = rollcall.MessageID(o.ID)
		}
	}
	return out
}

// tables is the table effect that writes orders.
func tables(b Stage, db *embedded.DB, mode effect.Mode) *effect.Tables {
	b.Helper()
	ts, err := effect.NewTables(db.DB(), effect.SQLite(), []effect.Table{{Name: "orders", Mode: mode, Key: []string{"id"},
		Columns: map[string]string{"id": "payload.id", "account": "payload.account", "amount": "payload.amount",
			"status": "payload.status", "note": "payload.note"}}})
	must(b, err)
	return ts
}

// pair is a new folder with the table.
func pair(b Stage) *embedded.DB {
	b.Helper()
	db, err := embedded.Open(b.TempDir())
	must(b, err)
	b.Cleanup(func() { _ = db.Close() }) // what was measured is checked before
	_, err = db.DB().Exec(ordersTable)
	must(b, err)
	return db
}

// send publishes all and waits until they are stored.
func send(b Stage, db *embedded.DB, messages []rollcall.Message) {
	b.Helper()
	ctx := b.Context()
	p := db.Publisher(rollcall.PublisherConfig{})
	stored := 0
	done := func(r rollcall.PublishResult) {
		if r.Fate == rollcall.Stored {
			stored++ // the one sending loop of the destination calls
		}
	}
	for i := range messages {
		must(b, p.Send(ctx, topic, messages[i], done))
	}
	must(b, p.Close(context.WithoutCancel(ctx)))
	if stored != len(messages) {
		b.Fatalf("%d of %d messages are stored", stored, len(messages))
	}
}

// consume works the log off and counts the rows.
func consume(b Stage, db *embedded.DB, c *rollcall.Consumer[*sql.Tx], want int) {
	b.Helper()
	must(b, c.RunUntilEmpty(b.Context()))
	check(b, db, want)
}

func check(b Stage, db *embedded.DB, want int) {
	b.Helper()
	n, sum := 0, 0
	must(b, db.DB().QueryRow("SELECT count(*), COALESCE(sum(amount), 0) FROM orders").Scan(&n, &sum))
	if n != want || sum == 0 {
		b.Fatalf("%d rows (sum %d), want %d", n, sum, want)
	}
}

func batched(b Stage, db *embedded.DB, mode effect.Mode, config rollcall.ConsumerConfig) *rollcall.Consumer[*sql.Tx] {
	return rollcall.NewBatchConsumer(group, db.Source(topic), db.Store(), tables(b, db, mode).HandleBatch, config)
}

// serial is what a user writes by hand. Orders of which fails holds are refused
// for good.
func serial(db *embedded.DB, fails func(*order) bool) *rollcall.Consumer[*sql.Tx] {
	handle := func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
		var o order
		if err := json.Unmarshal(m.Body, &o); err != nil {
			return rollcall.Dead(err)
		}
		if _, err := tx.ExecContext(ctx, insertOrder, o.ID, o.Account, o.Amount, o.Status, o.Note); err != nil {
			return err
		}
		if fails(&o) {
			return rollcall.Dead(errors.New("account is closed"))
		}
		return nil
	}
	return rollcall.NewConsumer(group, db.Source(topic), db.Store(), handle, rollcall.ConsumerConfig{Observer: silent{}})
}

// refused is how many of n orders fail.
func refused(n int) (count int) {
	for _, o := range newOrders(n) {
		if oneIn1000(&o) {
			count++
		}
	}
	return count
}

func never(*order) bool { return false }

// oneIn1000 is the 0.1 % of failing handlers. 1009 is prime, so they spread over
// all accounts, and so over all partitions.
func oneIn1000(o *order) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(o.ID, "order-"))
	return err == nil && n%1009 == 7
}

// timed measures f alone.
func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
