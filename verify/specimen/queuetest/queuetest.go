//go:build linux

package queuetest

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// Broker is a broker as the test sees it.
type Broker struct {
	Name string // with its version
	Addr string
	// Make makes a queue.
	Make func(t testing.TB, queue string)
	// Send has orders stored, as one batch if the broker can.
	Send func(t testing.TB, queue string, ids []string)
	// Left is how many messages lie in a queue that nobody reads. Nil: an
	// acknowledgement is answered, so that none is left when all are acknowledged.
	Left func(t testing.TB, queue string) int
}

const (
	calmOrders = 40
	group      = 8 // orders that are sent together
	kills      = 3 // of each pattern
	charge     = 20 * time.Millisecond
	usual      = 20 * time.Second // in which a broker hands over again what the dead had
)

// aim says where a pattern is hit, and what must come of it.
type aim struct {
	name    string
	moment  fault.Moment
	effect  bool // the order in hand has its effect by then
	ahead   bool // the kill is for what was received beyond the order in hand
	doubles bool // else it loses
}

var aims = []aim{
	{name: "ack-first", moment: fault.AfterAck},
	{name: "effect-then-ack", moment: fault.BeforeSettle, effect: true, doubles: true},
	// Here the flag is right of the order in hand, and wrong of what was merely received.
	{name: "redelivered-flag", moment: fault.BeforeSettle, effect: true, ahead: true},
	{name: "cache-check", moment: fault.AfterEffect, effect: true, doubles: true},
	{name: "setnx-first", moment: fault.AfterRecord},
}

// Run shows all patterns on the broker: each is right without a fault, and then must be
// seen to lose or to double when its workers are killed.
func Run(t *testing.T, b Broker) {
	var shows []*show
	if len(aims) != len(specimen.OnQueues()) {
		t.Errorf("%d patterns are aimed at, of %d", len(aims), len(specimen.OnQueues()))
	}
	for _, a := range aims {
		calm := newShow(t, b, a, "calm")
		calm.job.Calm = true
		calm.begin()
		calm.send(calmOrders)
		calm.end()
		calm.judgeCalm()
		s := newShow(t, b, a, "killed")
		s.running = append(s.running, start(t, s.job))
		for range kills {
			s.kill()
		}
		s.begin() // four workers again
		shows = append(shows, s)
	}
	for _, s := range shows { // what the dead had came again meanwhile
		s.end()
		s.judgeKilled()
	}
}

// show is one run of one pattern.
type show struct {
	t       testing.TB
	broker  Broker
	aim     aim
	title   string
	job     Job
	ledger  *sql.DB
	sent    []string
	running []*worker
	killed  []kill
	hit     time.Time // the last of them
	out     []string  // not acknowledged in the end
}

// kill is one SIGKILL.
type kill struct {
	pid int
	stand
}

func newShow(t testing.TB, b Broker, a aim, kind string) *show {
	t.Helper()
	s := &show{t: t, broker: b, aim: a, title: fmt.Sprintf("%s, %s, %s", b.Name, a.name, kind)}
	s.job = Job{Addr: b.Addr, Queue: a.name + "-" + kind, Pattern: a.name, Charge: charge,
		Redis: servers.Shared(t, servers.Redis).URL(), Ledger: filepath.Join(t.TempDir(), "ledger.db")}
	var err error
	if s.ledger, err = openLedger(s.job.Ledger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.ledger.Close() })
	if _, err := s.ledger.Exec(specimen.Schema + `CREATE TABLE acked (id TEXT NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	b.Make(t, s.job.Queue)
	return s
}

// begin has two processes at work that stand nowhere.
func (s *show) begin() {
	s.t.Helper()
	for len(s.running) < 2 {
		s.running = append(s.running, start(s.t, s.job))
	}
}

func (s *show) send(n int) {
	s.t.Helper()
	var ids []string
	for range n {
		ids = append(ids, fmt.Sprint("order-", len(s.sent)+len(ids)))
	}
	s.broker.Send(s.t, s.job.Queue, ids)
	s.sent = append(s.sent, ids...)
}

// kill puts a process beside the one that stays, sends orders until it stands with one in
// hand, and kills it.
func (s *show) kill() {
	s.t.Helper()
	job := s.job
	job.Stand, job.Ahead = s.aim.moment, s.aim.ahead
	victim := start(s.t, job)
	at, standing := stand{}, false
	for late := time.Now().Add(patience); !standing; {
		if time.Now().After(late) {
			s.t.Fatalf("%s: waited %v for process %d to stand %s", s.title, patience, victim.pid(), job.Stand)
		}
		s.send(group)
		at, standing = victim.hear(500 * time.Millisecond)
	}
	if s.count(`SELECT count(*) FROM ledger WHERE id = ?`, at.ID) > 0 != s.aim.effect {
		s.t.Errorf("%s: %s stands %s: its effect should be there: %v", s.title, at.ID, at.Moment, s.aim.effect)
	}
	victim.kill(s.t)
	s.killed, s.hit = append(s.killed, kill{victim.pid(), at}), time.Now()
}

// end waits until every order was acknowledged, and ends the processes. Where workers
// were killed a broker may keep an order back for long: that one is out, neither lost nor
// doubled, and is not waited for beyond what is usual.
func (s *show) end() {
	s.t.Helper()
	if s.killed == nil {
		s.until("every order to be acknowledged", func() bool { return len(s.open()) == 0 })
	}
	for len(s.open()) > 0 && time.Since(s.hit) < usual {
		time.Sleep(20 * time.Millisecond)
	}
	s.out = s.open()
	s.stop()
	for s.broker.Left != nil && s.broker.Left(s.t, s.job.Queue) > 0 { // an acknowledgement died on its way
		s.begin()
		s.until("the queue to be empty", func() bool { return s.broker.Left(s.t, s.job.Queue) == 0 })
		s.stop()
	}
}

func (s *show) stop() {
	s.t.Helper()
	for _, w := range s.running {
		w.stop(s.t)
	}
	s.running = nil
}

func (s *show) until(what string, done func() bool) {
	s.t.Helper()
	for late := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			s.t.Fatalf("%s: waited %v for %s; not acknowledged are %v", s.title, patience, what, s.open())
		}
	}
}

// open are the orders that nobody has acknowledged.
func (s *show) open() (ids []string) {
	s.t.Helper()
	for _, id := range s.sent {
		if s.count(`SELECT count(*) FROM acked WHERE id = ?`, id) == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

func (s *show) count(query string, args ...any) (n int) {
	s.t.Helper()
	if err := s.ledger.QueryRow(query, args...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}
