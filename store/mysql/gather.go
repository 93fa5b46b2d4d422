package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
)

// errLeft: a goroutine that a handler left behind, or a statement after its end.
var errLeft = errors.New("mysql store: the handler has returned, its transaction is not its own any more; the statement was not run; " +
	"wait in the handler for the goroutines that it starts")

// Statements wait for handlers that compute, or wait for something else: until
// none has joined for straggler, and never longer than patient, before they
// travel without theirs.
const (
	straggler = 2 * time.Millisecond
	patient   = 10 * straggler
)

// gathering is handlers side by side in one transaction. Their statements
// travel together as soon as every handler that is not done waits for one.
type gathering struct {
	t   *Tx
	ctx context.Context

	mu      sync.Mutex
	live    int // lanes that are not done
	waiting []*statement
	sending bool
	timer   *time.Timer
	since   time.Time // the first of those waiting came
	seen    int       // how many were waiting when the timer was set
	txs     []*sql.Tx // what the lanes were given
}

// statement is what a lane waits for.
type statement struct {
	lane  *lane
	ctx   context.Context
	text  string
	args  []driver.NamedValue
	said  said
	reads bool // its rows are wanted, not how many it changed

	result driver.Result
	rows   driver.Rows
	err    error
	done   chan struct{}
}

// lane is handlers that run one after the other, and what they get is a
// transaction of a virtual connection.
type lane struct {
	g     *gathering
	left  bool       // its handlers are done; under g.mu
	under *statement // the one under way; under g.mu
}

// Gather implements rollcall.Gatherer: each lane gets a real *sql.Tx, of a
// virtual connection. Texts of several statements need connections that are
// opened for that: those of a store that never gathers are not.
func (t *Tx) Gather(ctx context.Context, lanes int) func() (*sql.Tx, func()) {
	t.conn.from.gathers.Store(true)
	g := &gathering{t: t, ctx: ctx, live: lanes}
	return func() (*sql.Tx, func()) {
		l := &lane{g: g}
		tx, err := t.s.lanes.BeginTx(context.WithValue(context.WithoutCancel(ctx), laneKey{}, l), nil)
		if err != nil { // the store is closed: nothing works in that transaction either
			return t.tx, l.leave
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.txs = append(g.txs, tx)
		return tx, l.leave
	}
}

// leave: a lane is done; perhaps the others waited for it. What a goroutine that
// it left behind waits for is not sent any more, and what is under way ends
// before the store goes on with the connection.
func (l *lane) leave() {
	g := l.g
	g.mu.Lock()
	defer g.mu.Unlock()
	l.left = true
	for l.under != nil {
		if st := l.under; !g.withdraw(st, errLeft) {
			g.mu.Unlock()
			<-st.done
			g.mu.Lock()
		}
	}
	g.live--
	g.advance(false)
	if g.live == 0 {
		go end(g.txs) // not here: one with a row that is still being looked at waits
	}
}

// end gives the virtual connections back.
func end(txs []*sql.Tx) {
	for _, tx := range txs {
		_ = tx.Rollback() // of a lane that left it does nothing else
	}
}

// withdraw answers a statement that was not sent yet. It is called with mu held.
func (g *gathering) withdraw(st *statement, why error) bool {
	i := slices.Index(g.waiting, st)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	st.err = why
	st.lane.under = nil
	close(st.done)
	return true
}

// run waits for the answer to a lane's statement.
func (l *lane) run(st *statement) error {
	g := l.g
	st.lane, st.said, st.done = l, g.t.s.texts.Of(st.text, examine), make(chan struct{})
	if st.said.refused != nil {
		return st.said.refused
	}
	g.mu.Lock()
	if l.left {
		g.mu.Unlock()
		return errLeft
	}
	l.under = st
	g.waiting = append(g.waiting, st)
	g.advance(false)
	g.mu.Unlock()
	select {
	case <-st.done:
	case <-st.ctx.Done():
		g.mu.Lock()
		g.withdraw(st, st.ctx.Err())
		g.mu.Unlock()
		<-st.done
	}
	return st.err
}

// advance sends what waits when all lanes wait, or at once. It is called with
// mu held.
func (g *gathering) advance(now bool) {
	if g.sending || len(g.waiting) == 0 {
		return
	}
	if !now && len(g.waiting) < g.live {
		if g.timer == nil {
			g.since = time.Now()
			g.wait()
		}
		return
	}
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	all := g.waiting
	g.waiting, g.sending = nil, true
	go g.send(all)
}

// wait sets the timer. It is called with mu held.
func (g *gathering) wait() {
	g.seen = len(g.waiting)
	var mine *time.Timer
	mine = time.AfterFunc(straggler, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.timer != mine { // it was stopped too late
			return
		}
		if len(g.waiting) > g.seen && time.Since(g.since) < patient {
			g.wait()
			return
		}
		g.timer = nil
		g.advance(true)
	})
	g.timer = mine
}

func (g *gathering) send(all []*statement) {
	err := g.t.held.Raw(func(any) error {
		g.t.conn.travel(g.ctx, all)
		return nil
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, st := range all {
		if err != nil {
			st.err = fmt.Errorf("mysql store: the transaction has ended, the statement was not run: %w", err)
		}
		st.lane.under = nil
		close(st.done)
	}
	g.sending = false
	g.advance(false)
}

var _ rollcall.Gatherer[*sql.Tx] = (*Tx)(nil)
