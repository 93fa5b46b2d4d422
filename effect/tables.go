package effect

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/internal/jsonpath"
)

// Tables writes messages into tables. It is safe for concurrent use.
type Tables struct {
	d       dialect.Dialect
	entries []*entry
	targets []*target
	paths   []jsonpath.Path // of all sources
	// serial: a table has triggers, which must see every message's change.
	serial bool
	// keyed: there are inserts with a key, which are tried without looking first.
	keyed bool
}

// NewTables checks the tables against the catalogue of db. The errors are
// rollcall.ErrConfig and name table, field and next step, or the database's own
// when it did not answer; nothing was written.
func NewTables(db *sql.DB, d dialect.Dialect, tables []Table) (*Tables, error) {
	return NewTablesOn(context.Background(), SQL(db), d, tables)
}

// NewTablesOn is NewTables for any client.
func NewTablesOn(ctx context.Context, c Conn, d dialect.Dialect, tables []Table) (*Tables, error) {
	if len(tables) == 0 {
		return nil, configError("", "name", "no table is given")
	}
	ts := &Tables{d: d}
	for _, t := range tables {
		e, cat, err := compile(ctx, c, d, t)
		if err != nil {
			return nil, err
		}
		if err := ts.place(e, cat); err != nil {
			return nil, err
		}
		ts.number(e)
		ts.entries = append(ts.entries, e)
		ts.keyed = ts.keyed || t.Mode == Insert && len(e.key) > 0
		ts.serial = ts.serial || cat.Triggers
	}
	return ts, nil
}

// number gives the paths of an entry their places among all.
func (ts *Tables) number(e *entry) {
	sources := []*Source{&e.when.source}
	for i := range e.sources {
		sources = append(sources, &e.sources[i])
	}
	for _, s := range sources {
		if s.kind == sourcePath && s.text != "" {
			s.at = len(ts.paths)
			ts.paths = append(ts.paths, s.path)
		}
	}
}

// place finds the target of an entry. Several entries may share a table if what
// they write does not depend on what is there.
func (ts *Tables) place(e *entry, cat dialect.Table) error {
	for _, g := range ts.targets {
		if g.name != cat.Name {
			continue
		}
		first := g.entries[0]
		if !strings.EqualFold(strings.Join(first.t.Key, ","), strings.Join(e.t.Key, ",")) || !blind(e.t.Mode) || !blind(first.t.Mode) ||
			e.t.When == "" || first.t.When == "" {
			return e.fail("name", "it stands there twice; write it once, or use modes upsert, set or delete, one key, and `when` in each")
		}
		e.target = g
		g.entries = append(g.entries, e)
		return nil
	}
	e.target = &target{name: cat.Name, key: pick(e.names, e.key), entries: []*entry{e}, index: len(ts.targets)}
	ts.targets = append(ts.targets, e.target)
	return nil
}

// blind modes do not depend on what is in the table.
func blind(m Mode) bool { return m == Upsert || m == Set || m == Delete }

func (ts *Tables) handleOne(ctx context.Context, c Conn, m rollcall.Message) error {
	outcomes, err := ts.handle(ctx, c, []rollcall.Message{m})
	if err != nil {
		return err
	}
	return outcomes[0]
}

func (ts *Tables) handleAll(ctx context.Context, c Conn, ms []rollcall.Message) ([]error, error) {
	if !ts.serial {
		return ts.handle(ctx, c, ms)
	}
	outcomes := make([]error, len(ms))
	for i := range ms {
		one, err := ts.handle(ctx, c, ms[i:i+1])
		if err != nil {
			return nil, err
		}
		outcomes[i] = one[0]
	}
	return outcomes, nil
}

// errConflict: a row was there that we had not seen.
var errConflict = errors.New("effect: a row with this key appeared")

// tries is how often a batch looks again because another transaction was
// faster. It locks what it sees, so the second time is the last but for the
// worst luck, or for a conflict with another index.
const tries = 4

func (ts *Tables) handle(ctx context.Context, c Conn, ms []rollcall.Message) ([]error, error) {
	b := ts.newBatch(c, ms)
	// Inserts conflict rarely: repeats were dropped before. So insert first, and
	// look at the rows that are there only if that fails.
	look := !ts.keyed
	for try := 1; ; try++ {
		outcomes, err := b.run(ctx, look)
		if !errors.Is(err, errConflict) || try == tries || look && ts.alone() {
			return outcomes, err
		}
		b.forget()
		look = true
	}
}

// alone: nobody else writes while we do, so what we looked at stays.
func (ts *Tables) alone() bool { return ts.d.Family == dialect.FamilySQLite }

// batch is the work of one HandleBatch.
type batch struct {
	ts       *Tables
	c        Conn
	outcomes []error
	rows     [][]row                // of each message, one for each entry that is for it
	states   []map[string]*rowState // by target, by key
	order    [][]*rowState          // by target, in the order of first touch
}

// row is what one message does to one table.
type row struct {
	e      *entry
	values []any
	key    string
}

// rowState is what becomes of one row of a target.
type rowState struct {
	exists  bool  // now, after the messages before
	found   bool  // in the table
	current []any // of the columns that the mode looks at
	deleted bool  // first of all the row is deleted
	key     []any
	id      string // of the key
	writes  []write
	first   [1]write // where writes begins: most rows are written once
}

// write is one statement's worth of a row.
type write struct {
	e      *entry
	values []any
}

func (ts *Tables) newBatch(c Conn, ms []rollcall.Message) *batch {
	b := &batch{ts: ts, c: c, outcomes: make([]error, len(ms)), rows: make([][]row, len(ms))}
	b.forget()
	// Reading JSON is a good part of the work, and free of the transaction.
	workers := min(runtime.GOMAXPROCS(0), 1+len(ms)/minShare)
	var wait sync.WaitGroup
	for w := range workers {
		from, to := w*len(ms)/workers, (w+1)*len(ms)/workers
		if w == workers-1 {
			b.read(ms, from, to)
			break
		}
		wait.Go(func() { b.read(ms, from, to) })
	}
	wait.Wait()
	return b
}

// minShare is how many messages are worth a goroutine.
const minShare = 50

// read computes the rows of some of the messages.
func (b *batch) read(ms []rollcall.Message, from, to int) {
	r := reader{paths: b.ts.paths, found: make([]jsonpath.Found, len(b.ts.paths))}
	rows := make([]row, 0, (to-from)*len(b.ts.entries))
	for i := from; i < to; i++ {
		start := len(rows)
		r.next(&ms[i])
		rows, b.outcomes[i] = b.ts.rowsOf(rows, &r)
		b.rows[i] = rows[start:len(rows):len(rows)]
	}
}

// rowsOf computes what one message does; the error is its outcome.
func (ts *Tables) rowsOf(rows []row, r *reader) ([]row, error) {
	start := len(rows)
	for _, e := range ts.entries {
		ok, err := e.when.holds(r)
		if err != nil {
			return rows[:start], err
		}
		if !ok {
			continue
		}
		values, key, err := e.row(r)
		if err != nil {
			return rows[:start], err
		}
		rows = append(rows, row{e, values, key})
	}
	if len(rows) == start {
		return rows, rollcall.Filtered
	}
	return rows, nil
}

func (b *batch) forget() {
	b.states = make([]map[string]*rowState, len(b.ts.targets))
	b.order = make([][]*rowState, len(b.ts.targets))
	for i := range b.states {
		b.order[i] = make([]*rowState, 0, len(b.rows))
		b.states[i] = make(map[string]*rowState, len(b.rows))
	}
}

// run decides and writes. look: keyed inserts look at what is there, too.
func (b *batch) run(ctx context.Context, look bool) ([]error, error) {
	b.touch()
	if err := b.load(ctx, look); err != nil {
		return nil, err
	}
	outcomes := make([]error, len(b.outcomes))
	for i, rows := range b.rows {
		outcomes[i] = b.outcomes[i]
		if outcomes[i] != nil {
			continue
		}
		if outcomes[i] = b.decide(rows); outcomes[i] != nil && !look && len(rows) > 1 {
			// Another table's answer, but the insert, looked at, may have said
			// Repeated before.
			return nil, errConflict
		}
	}
	return outcomes, b.writeOrUndo(ctx, look)
}

// decide applies the rows of one message to the states, all or none.
func (b *batch) decide(rows []row) error {
	for i := range rows {
		if err := rows[i].e.decide(b.state(&rows[i]), rows[i].values); err != nil {
			return err
		}
	}
	for i := range rows {
		rows[i].e.apply(b.state(&rows[i]), rows[i].values)
	}
	return nil
}

// touch makes the states of all rows. Rows without a key have one each.
func (b *batch) touch() {
	slab := make([]rowState, len(b.rows)*len(b.ts.entries))
	for i := range b.rows {
		for j := range b.rows[i] {
			r := &b.rows[i][j]
			at := r.e.target.index
			if len(r.e.key) == 0 {
				r.key = fmt.Sprint(i)
			}
			if b.states[at][r.key] == nil {
				s := &slab[0]
				slab = slab[1:]
				if r.e.needsKey() {
					s.key = pick(r.values, r.e.key)
				}
				s.writes, s.id = s.first[:0], r.key
				b.states[at][r.key] = s
				b.order[at] = append(b.order[at], s)
			}
		}
	}
}

func (b *batch) state(r *row) *rowState { return b.states[r.e.target.index][r.key] }
