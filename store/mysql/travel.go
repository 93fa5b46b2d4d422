package mysql

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// How much goes into one text. A packet may be 1 MB at least where nobody has
// set it lower; a text that is too long is taken apart.
const (
	mostTogether = 1000
	mostBytes    = 256 << 10
)

// travel runs statements of lanes, which are in no order: reads in one text,
// changes in another, and by themselves those that may not have one answer each.
func (c *conn) travel(ctx context.Context, all []*statement) {
	var reads, changes, others []*statement
	for _, st := range all {
		switch {
		case !c.joins(st):
			others = append(others, st)
		case st.reads:
			reads = append(reads, st)
		default:
			changes = append(changes, st)
		}
	}
	c.inParts(changes, func(part []*statement) int { return c.change(ctx, part) })
	c.inParts(reads, func(part []*statement) int { return c.look(ctx, part) })
	for _, st := range others {
		c.single(st)
	}
}

// joins reports whether a statement may stand in a text with others: it is surely
// one, with one answer of a known kind, and the values fit.
func (c *conn) joins(st *statement) bool {
	c.mu.Lock()
	stained := c.stained
	c.mu.Unlock()
	if !c.several || stained || !st.said.Sure || st.said.Values != len(st.args) || st.ctx.Err() != nil {
		return false
	}
	for _, arg := range st.args {
		if arg.Name != "" {
			return false
		}
	}
	if st.reads {
		return st.said.verb == "SELECT" && !slices.Contains(st.said.Tokens, "INTO")
	}
	return slices.Contains([]string{"INSERT", "UPDATE", "DELETE", "REPLACE"}, st.said.verb)
}

// inParts runs statements in texts that are not too long. run says how many it
// has answered, 0 if it could not send them; then they go one by one.
func (c *conn) inParts(all []*statement, run func([]*statement) int) {
	for len(all) > 0 {
		n, bytes := 0, 0
		for n < len(all) && n < mostTogether {
			if bytes += size(all[n]); bytes > mostBytes {
				break
			}
			n++
		}
		if n > 1 {
			if n = run(all[:n]); n > 0 {
				all = all[n:]
				continue
			}
		}
		c.single(all[0])
		all = all[1:]
	}
}

// size is how long a statement may become with its values.
func size(st *statement) int {
	n := len(st.text) + 64
	for _, arg := range st.args {
		switch v := arg.Value.(type) {
		case string:
			n += 2 * len(v)
		case []byte:
			n += 2 * len(v)
		case json.RawMessage:
			n += 2 * len(v)
		default:
			n += 64
		}
	}
	return n
}

// bound is a context that ends with the first of the statements': the text is one
// for the server. It says why that one's ended.
func bound(ctx context.Context, part []*statement) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(own(ctx))
	var first time.Time
	stops := make([]func() bool, 0, len(part))
	for _, st := range part {
		if at, has := st.ctx.Deadline(); has && (first.IsZero() || at.Before(first)) {
			first = at
		}
		stops = append(stops, context.AfterFunc(st.ctx, func() {
			if !errors.Is(st.ctx.Err(), context.DeadlineExceeded) {
				cancel()
			}
		}))
	}
	end := cancel
	if !first.IsZero() {
		ctx, end = context.WithDeadline(ctx, first)
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		end()
		cancel()
	}
}

// values are those of all statements, in the order of their question marks.
func values(part []*statement) (all []driver.NamedValue) {
	for _, st := range part {
		for _, arg := range st.args {
			arg.Ordinal = len(all) + 1
			all = append(all, arg)
		}
	}
	return all
}

// unsent: nothing of a text was sent, and its statements may go one by one.
func unsent(err error) bool {
	return err == driver.ErrSkip || errors.Is(err, mysql.ErrPktTooLarge) //nolint: database/sql compares so
}

// loseAll answers statements whose text took the transaction with it.
func (c *conn) loseAll(part []*statement, err error) int {
	c.lose(&lostError{err})
	for _, st := range part {
		st.err = fmt.Errorf("mysql store: a statement that travelled together with this one failed, nothing of the transaction was committed: %w", err)
	}
	return len(part)
}

// change runs statements that change rows. The driver tells the answers of a text
// only when all of it went well. So the text marks how far it came, and when one
// statement fails, the text is undone, and those before that one run again.
func (c *conn) change(ctx context.Context, part []*statement) int {
	ctx, cancel := bound(ctx, part)
	defer cancel()
	var text strings.Builder
	text.WriteString("SAVEPOINT rollcall_gather")
	for i, st := range part {
		fmt.Fprintf(&text, "\n;\nSET @rollcall_gather = %d\n;\n%s", i, st.said.Body)
	}
	l, err := c.admit(ctx, text.String())
	if err != nil {
		return fail(part, err)
	}
	result, err := c.inner.ExecContext(ctx, text.String(), values(part))
	if unsent(err) {
		return 0
	}
	if err = c.after(l, err); err != nil {
		return c.redo(ctx, part, err)
	}
	several, ok := result.(mysql.Result)
	if !ok || len(several.AllRowsAffected()) != 1+2*len(part) {
		return c.loseAll(part, fmt.Errorf("mysql store: %T does not tell the answers of %d statements", result, len(part)))
	}
	rows, ids := several.AllRowsAffected(), several.AllLastInsertIds()
	for i, st := range part {
		st.result = answer{rows: rows[2*i+2], id: ids[2*i+2]}
	}
	return len(part)
}

// redo follows an error of a text of changes: that statement is answered with it,
// those before it run again, those behind it are left to the next text.
func (c *conn) redo(ctx context.Context, part []*statement, cause error) int {
	at, err := c.failedAt(ctx)
	if err != nil || at < 0 || at >= len(part) {
		return c.loseAll(part, errors.Join(cause, err))
	}
	c.inParts(part[:at], func(again []*statement) int { return c.change(ctx, again) })
	part[at].err = cause
	return at + 1
}

// failedAt undoes the text and returns which statement of it was the last.
func (c *conn) failedAt(ctx context.Context) (int, error) {
	rows, err := c.QueryContext(ctx, "ROLLBACK TO SAVEPOINT rollcall_gather\n;\nSELECT CAST(@rollcall_gather AS CHAR)", nil)
	if err != nil {
		return 0, err
	}
	value := make([]driver.Value, 1)
	if err := rows.Next(value); err != nil {
		return 0, err
	}
	return strconv.Atoi(fmt.Sprintf("%s", value[0]))
}

// look runs statements that read.
func (c *conn) look(ctx context.Context, part []*statement) int {
	ctx, cancel := bound(ctx, part)
	defer cancel()
	texts := make([]string, len(part))
	for i, st := range part {
		texts[i] = st.said.Body
	}
	text := strings.Join(texts, "\n;\n")
	l, err := c.admit(ctx, text)
	if err != nil {
		return fail(part, err)
	}
	from, err := c.inner.QueryContext(ctx, text, values(part))
	if unsent(err) {
		return 0
	}
	n := 0
	if err == nil {
		n, err = answers(from, part)
	}
	switch err = c.after(l, err); {
	case err == nil:
		return len(part)
	case c.usable() != nil || n == len(part):
		return c.loseAll(part, err)
	}
	part[n].err = err // those behind it were not run
	return n + 1
}

// answers reads an answer for each statement and returns how many there were up
// to the first that is an error.
func answers(from driver.Rows, part []*statement) (n int, err error) {
	defer func() {
		if closing := from.Close(); err == nil {
			err = closing
		}
	}()
	next, ok := from.(driver.RowsNextResultSet)
	if !ok {
		return 0, errors.New("mysql store: the driver's rows lack what this version of rollcall needs")
	}
	for n, st := range part {
		if n > 0 {
			if err := next.NextResultSet(); err == io.EOF { //nolint: database/sql compares so
				return n, io.ErrUnexpectedEOF
			} else if err != nil {
				return n, err
			}
		}
		rows, err := bufferOne(from)
		if err != nil {
			return n, err
		}
		st.rows = rows
	}
	if next.HasNextResultSet() {
		return len(part), errors.New("mysql store: the server gave more answers than there were statements")
	}
	return len(part), nil
}

func fail(part []*statement, err error) int {
	for _, st := range part {
		st.err = err
	}
	return len(part)
}

// single runs a statement by itself, as an ungathered handler's.
func (c *conn) single(st *statement) {
	if st.err = st.ctx.Err(); st.err != nil {
		return
	}
	if st.reads {
		st.rows, st.err = c.QueryContext(st.ctx, st.text, st.args)
	} else {
		st.result, st.err = c.ExecContext(st.ctx, st.text, st.args)
	}
	if st.err == driver.ErrSkip { //nolint: database/sql compares so
		st.err = c.prepared(st)
	}
}

// prepared does what database/sql does after driver.ErrSkip.
func (c *conn) prepared(st *statement) error {
	made, err := c.PrepareContext(st.ctx, st.text)
	if err != nil {
		return err
	}
	defer func() { _ = made.Close() }()
	s, is := made.(*stmt)
	if !is {
		return errNoContext
	}
	if want := s.NumInput(); want >= 0 && want != len(st.args) {
		return fmt.Errorf("mysql store: %d values for a statement that takes %d; it was not run", len(st.args), want)
	}
	if st.reads {
		st.rows, err = s.QueryContext(st.ctx, st.args)
	} else {
		st.result, err = s.ExecContext(st.ctx, st.args)
	}
	return err
}

// answer is what a statement changed.
type answer struct{ rows, id int64 }

// LastInsertId implements driver.Result.
func (a answer) LastInsertId() (int64, error) { return a.id, nil }

// RowsAffected implements driver.Result.
func (a answer) RowsAffected() (int64, error) { return a.rows, nil }
