package specimen_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// queue is a list that starts again from the oldest message without an ack.
type queue struct {
	messages []specimen.Message
	next     int
	acked    map[int64]bool
}

func (q *queue) Receive(context.Context) (specimen.Message, error) {
	if q.next == len(q.messages) {
		return specimen.Message{}, io.EOF
	}
	q.next++
	return q.messages[q.next-1], nil
}

func (q *queue) Ack(_ context.Context, m specimen.Message) error {
	q.acked[m.Offset] = true
	return nil
}

func (q *queue) Nack(context.Context, specimen.Message) error {
	for q.next = 0; q.next < len(q.messages) && q.acked[int64(q.next)]; q.next++ {
	}
	return nil
}

// cache is the services of the faults, without a process in between.
type cache struct{ s *fault.Services }

func (c cache) ask(op, key, value string, ttl time.Duration) fault.Reply {
	return c.s.Answer(fault.Request{Op: op, Key: key, Value: value, TTL: ttl})
}
func (c cache) Get(_ context.Context, key string) (string, bool, error) {
	r := c.ask(fault.OpGet, key, "", 0)
	return r.Value, r.OK, nil
}
func (c cache) Set(_ context.Context, key, value string, ttl time.Duration) error {
	c.ask(fault.OpSet, key, value, ttl)
	return nil
}
func (c cache) SetNX(_ context.Context, key, value string, ttl time.Duration) (bool, error) {
	return c.ask(fault.OpSetNX, key, value, ttl).OK, nil
}
func (c cache) Del(_ context.Context, key string) error {
	c.ask(fault.OpDel, key, "", 0)
	return nil
}
func (c cache) DelIf(_ context.Context, key, value string) error {
	c.ask(fault.OpDelIf, key, value, 0)
	return nil
}

// bench is a worker over a list of four orders: one is poison, one is declined
// twice.
func bench(t *testing.T, at func(fault.Moment, specimen.Message) error) (*specimen.Worker, *queue) {
	t.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(specimen.Schema); err != nil {
		t.Fatal(err)
	}
	q := &queue{acked: make(map[int64]bool)}
	for i := range 4 {
		q.messages = append(q.messages, specimen.Message{ID: fmt.Sprint("order-", i), Cents: 5, Offset: int64(i)})
	}
	declined := 0
	return &specimen.Worker{Queue: q, Cache: cache{fault.NewServices("")}, DB: db, PID: 1, Log: t.Logf,
		Charge: func(_ context.Context, m specimen.Message) error {
			if m.ID == "order-1" || m.ID == "order-2" && declined < 2 {
				if m.ID == "order-2" {
					declined++
				}
				return specimen.ErrBusiness
			}
			return nil
		},
		At: func(_ context.Context, moment fault.Moment, m specimen.Message) error { return at(moment, m) }}, q
}

func count(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestWithoutFaults: each pattern books each order once, rejects the poison
// one for all to see, and leaves nothing in the queue. It comes to every
// moment that it does not name another for.
func TestWithoutFaults(t *testing.T) {
	for _, p := range specimen.Patterns() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel() // they wait for tries most of the time
			seen := make(map[fault.Moment]bool)
			w, q := bench(t, func(m fault.Moment, _ specimen.Message) error { seen[m] = true; return nil })
			if err := p.Run(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			if n := count(t, w.DB, `SELECT count(*) * 10 + count(DISTINCT id) FROM ledger WHERE id <> 'order-1'`); n != 33 {
				t.Errorf("effects and distinct ones: %d, want 33", n)
			}
			if n := count(t, w.DB, `SELECT cents FROM balance`); n != 15 {
				t.Errorf("the balance is %d, want 15", n)
			}
			if n := count(t, w.DB, `SELECT count(*) FROM rejected WHERE id = 'order-1'`); n != 1 || len(q.acked) != 4 {
				t.Errorf("rejected %d times, %d acks", n, len(q.acked))
			}
			for _, m := range []fault.Moment{fault.BeforeEffect, fault.InEffect, fault.InRetry, fault.BeforeCommit, fault.Committing,
				fault.AfterEffect, fault.AfterRecord, fault.BeforeSettle} {
				if near, ok := p.Nearest[m]; ok {
					m = near
				}
				if !seen[m] {
					t.Errorf("it never comes %s", m)
				}
			}
		})
	}
}

// TestAnswerToCommitLost: what each pattern makes of a COMMIT that happened
// without an answer, or did not happen.
func TestAnswerToCommitLost(t *testing.T) {
	for _, p := range specimen.Patterns() {
		for _, lost := range []error{fault.ErrReplyLost, fault.ErrCommitLost} {
			t.Run(p.Name+" "+lost.Error(), func(t *testing.T) {
				t.Parallel()
				once := false
				w, _ := bench(t, func(moment fault.Moment, m specimen.Message) error {
					at := fault.Committing
					if p.Nearest[at] != "" {
						at = p.Nearest[at]
					}
					if errors.Is(lost, fault.ErrCommitLost) {
						at = fault.BeforeCommit
					}
					if moment != at || m.ID != "order-3" || once {
						return nil
					}
					once = true
					return lost
				})
				if err := p.Run(t.Context(), w); err != nil {
					t.Fatal(err)
				}
				n := count(t, w.DB, `SELECT count(*) FROM ledger WHERE id = 'order-3'`)
				e := specimen.Expected(p.Name)
				if !once || n == 0 && !e.MayLose || n > 1 && !e.MayDouble {
					t.Errorf("%d effects, expected %+v", n, e)
				}
			})
		}
	}
}

func TestExpectations(t *testing.T) {
	for _, p := range specimen.Patterns() {
		e := specimen.Expected(p.Name)
		if !e.MustLose && !e.MustDouble || e.MustLose && !e.MayLose || e.MustDouble && !e.MayDouble {
			t.Errorf("%s: %+v", p.Name, e)
		}
		if found, err := specimen.Find(p.Name); err != nil || found.Idea == "" || found.Why == "" {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	if (specimen.Expected("rollcall") != specimen.Expectation{}) {
		t.Error("rollcall may do nothing of the kind")
	}
	if _, err := specimen.Find("bogus"); err == nil {
		t.Error("there is a pattern called bogus")
	}
}
