package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	rollcall "github.com/rollcall-mq/rollcall"
)

// errUngathered: a method of pgx.Tx that cannot travel with others.
var errUngathered = errors.New("postgres store: it cannot be gathered: in a gathered handler use Exec, Query, QueryRow and SendBatch, " +
	"or leave ConsumerConfig.Gather out")

// errLeft: a goroutine that a handler left behind, or a statement after its end.
var errLeft = errors.New("postgres store: the handler has returned, its transaction is not its own any more; the statement was not run")

// straggler is how long statements wait for handlers that compute, or wait for
// something else, before they travel without theirs.
const straggler = 2 * time.Millisecond

// gathering is handlers side by side in one transaction. Their statements
// travel together, in one pipeline, as soon as every handler that is not done
// waits for one.
type gathering struct {
	t   *Tx
	ctx context.Context

	mu      sync.Mutex
	live    int // lanes that are not done
	waiting []*call
	sending bool
	timer   *time.Timer
}

// call is the statements of one lane that wait for their answers.
type call struct {
	statements []statement
	results    []*result
	done       chan struct{}
}

// Gather implements rollcall.Gatherer.
func (t *Tx) Gather(ctx context.Context, lanes int) func() (pgx.Tx, func()) {
	g := &gathering{t: t, ctx: ctx, live: lanes}
	return func() (pgx.Tx, func()) { l := &laneTx{g: g}; return l, l.leave }
}

// leave: a lane is done; perhaps the others waited for it. What a goroutine that
// its handlers left behind waits for is not sent any more, and what is under way
// ends before the store goes on with the connection.
func (l *laneTx) leave() {
	g := l.g
	g.mu.Lock()
	defer g.mu.Unlock()
	l.left = true
	for len(l.under) > 0 {
		c := l.under[0]
		if at := slices.Index(g.waiting, c); at >= 0 {
			g.waiting = slices.Delete(g.waiting, at, at+1)
			l.under = l.under[1:]
			c.results = failed(len(c.statements), errLeft)
			close(c.done)
			continue
		}
		g.mu.Unlock()
		<-c.done
		g.mu.Lock()
		l.under = slices.DeleteFunc(l.under, func(o *call) bool { return o == c })
	}
	g.live--
	g.advance(false)
}

// run waits for the answers to a lane's statements.
func (l *laneTx) run(statements ...statement) []*result {
	g := l.g
	for _, st := range statements {
		if err := g.t.s.texts.Of(st.text, examine).ungathered; err != nil {
			return failed(len(statements), err)
		}
	}
	c := &call{statements: statements, done: make(chan struct{})}
	g.mu.Lock()
	if l.left {
		g.mu.Unlock()
		return failed(len(statements), errLeft)
	}
	l.under = append(l.under, c)
	g.waiting = append(g.waiting, c)
	g.advance(false)
	g.mu.Unlock()
	<-c.done
	g.mu.Lock()
	defer g.mu.Unlock()
	l.under = slices.DeleteFunc(l.under, func(o *call) bool { return o == c })
	return c.results
}

// advance sends what waits when all lanes wait, or at once. It is called with
// mu held.
func (g *gathering) advance(now bool) {
	if g.sending || len(g.waiting) == 0 {
		return
	}
	if !now && len(g.waiting) < g.live {
		if g.timer == nil {
			g.timer = time.AfterFunc(straggler, func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.timer = nil
				g.advance(true)
			})
		}
		return
	}
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	calls := g.waiting
	g.waiting, g.sending = nil, true
	go g.send(calls)
}

func (g *gathering) send(calls []*call) {
	var b pgx.Batch
	for _, c := range calls {
		for _, st := range c.statements {
			b.Queue(st.text, st.args...)
		}
	}
	results, err := g.t.along(g.ctx, &b)
	if err == nil {
		err = read(results, calls)
		err = errors.Join(err, results.Close())
		g.t.note(err)
	}
	travelled := fmt.Errorf("a statement that travelled together with this one failed: %w", err)
	if err != nil && g.t.usable() != nil && errors.Is(g.t.usable(), errAborted) && g.t.s.Classify(err) == rollcall.ClassEnvironment {
		// Whose it was may know better: only then it is everybody's.
		travelled = fmt.Errorf("a statement that travelled together with this one failed: %v", err)
	}
	for _, c := range calls {
		if missing := len(c.statements) - len(c.results); missing > 0 {
			c.results = append(c.results, failed(missing, travelled)...)
		}
		close(c.done)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sending = false
	g.advance(false)
}

// read reads the answers up to the first that is an error: after it the server
// has run nothing.
func read(batch pgx.BatchResults, calls []*call) error {
	for _, c := range calls {
		for range c.statements {
			r := new(result)
			rows, err := batch.Query()
			if err == nil {
				r.fields = append(r.fields, rows.FieldDescriptions()...)
				for rows.Next() {
					r.rows = append(r.rows, copied(rows.RawValues()))
				}
				rows.Close()
				r.tag, err = rows.CommandTag(), rows.Err()
				r.types = rows.TypeMap()
			}
			err = explained(err)
			r.err = err
			c.results = append(c.results, r)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func copied(values [][]byte) [][]byte {
	out := make([][]byte, len(values))
	for i, v := range values {
		if v != nil {
			out[i] = append([]byte{}, v...)
		}
	}
	return out
}

func failed(n int, err error) []*result {
	out := make([]*result, n)
	for i := range out {
		out[i] = &result{err: err}
	}
	return out
}

// laneTx is the transaction as a gathered handler sees it.
type laneTx struct {
	g *gathering
	// Under g.mu: its handlers are done; its statements that wait or are under way.
	left  bool
	under []*call
}

// Exec implements pgx.Tx.
func (l *laneTx) Exec(_ context.Context, text string, args ...any) (pgconn.CommandTag, error) {
	r := l.run(statement{text: text, args: args})[0]
	return r.tag, r.err
}

// Query implements pgx.Tx.
func (l *laneTx) Query(_ context.Context, text string, args ...any) (pgx.Rows, error) {
	r := l.run(statement{text: text, args: args})[0]
	return &bufferedRows{result: r, at: -1}, r.err
}

// QueryRow implements pgx.Tx.
func (l *laneTx) QueryRow(_ context.Context, text string, args ...any) pgx.Row {
	return oneRow{&bufferedRows{result: l.run(statement{text: text, args: args})[0], at: -1}}
}

// SendBatch implements pgx.Tx.
func (l *laneTx) SendBatch(_ context.Context, b *pgx.Batch) pgx.BatchResults {
	all := make([]statement, len(b.QueuedQueries))
	for i, q := range b.QueuedQueries {
		all[i] = statement{text: q.SQL, args: q.Arguments}
	}
	if len(all) == 0 {
		return &bufferedBatch{}
	}
	return &bufferedBatch{results: l.run(all...), queries: b.QueuedQueries}
}

// Begin, Commit and the rest cannot be gathered, and say so.
func (l *laneTx) Begin(context.Context) (pgx.Tx, error) { return nil, errUngathered }

// Commit is refused: the transaction is rollcall's.
func (l *laneTx) Commit(context.Context) error { return errUserEnded }

// Rollback is refused: the transaction is rollcall's.
func (l *laneTx) Rollback(context.Context) error { return errUserEnded }

// CopyFrom is refused.
func (l *laneTx) CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error) {
	return 0, fmt.Errorf("CopyFrom: %w", errUngathered)
}

// Prepare is refused; statements are prepared and kept without it.
func (l *laneTx) Prepare(context.Context, string, string) (*pgconn.StatementDescription, error) {
	return nil, fmt.Errorf("Prepare: %w", errUngathered)
}

// LargeObjects is refused.
func (l *laneTx) LargeObjects() pgx.LargeObjects { panic(errRefused) }

// Conn is refused.
func (l *laneTx) Conn() *pgx.Conn { panic(errRefused) }
