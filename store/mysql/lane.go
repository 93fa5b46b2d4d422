package mysql

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/go-sql-driver/mysql"
)

// laneKey is where the context of a BeginTx names the lane that gets it.
type laneKey struct{}

// virtual opens connections that are none: what is said to them waits in a
// gathering and travels on the connection of its transaction.
type virtual struct{}

// Connect implements driver.Connector.
func (virtual) Connect(context.Context) (driver.Conn, error) { return new(seat), nil }

// Driver implements driver.Connector.
func (virtual) Driver() driver.Driver { return mysql.MySQLDriver{} }

// seat is a virtual connection, in use by one lane at a time.
type seat struct{ lane *lane }

var errNoLane = errors.New("mysql store: the connection of a gathered handler cannot be used outside of its transaction")

// BeginTx takes the seat. The transaction is the store's, and has begun.
func (s *seat) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	l, is := ctx.Value(laneKey{}).(*lane)
	if !is {
		return nil, errNoLane
	}
	s.lane = l
	return laneTx{l}, nil
}

// Begin is refused: it cannot say for which lane.
func (s *seat) Begin() (driver.Tx, error) { return nil, errNoLane }

// Close implements driver.Conn.
func (s *seat) Close() error { return nil }

// ExecContext implements driver.ExecerContext.
func (s *seat) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	st := &statement{ctx: ctx, text: text, args: args}
	err := s.lane.run(st)
	return st.result, err
}

// QueryContext implements driver.QueryerContext.
func (s *seat) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	st := &statement{ctx: ctx, text: text, args: args, reads: true}
	err := s.lane.run(st)
	return st.rows, err
}

// CheckNamedValue turns values into those that the driver takes, by its rules.
func (s *seat) CheckNamedValue(v *driver.NamedValue) error { return s.lane.g.t.conn.CheckNamedValue(v) }

// PrepareContext keeps the text: it is not sent before it is run, and its
// mistakes are found then.
func (s *seat) PrepareContext(_ context.Context, text string) (driver.Stmt, error) {
	if err := s.lane.g.t.s.texts.Of(text, examine).refused; err != nil {
		return nil, err
	}
	return &kept{seat: s, text: text}, nil
}

// Prepare is PrepareContext for old callers.
func (s *seat) Prepare(text string) (driver.Stmt, error) {
	return s.PrepareContext(context.Background(), text)
}

// kept is a prepared statement of a lane.
type kept struct {
	*seat
	text string
}

// NumInput is how many values it wants, where that is sure.
func (k *kept) NumInput() int {
	if said := k.lane.g.t.s.texts.Of(k.text, examine); said.Sure {
		return said.Values
	}
	return -1
}

// ExecContext implements driver.StmtExecContext.
func (k *kept) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return k.seat.ExecContext(ctx, k.text, args)
}

// QueryContext implements driver.StmtQueryContext.
func (k *kept) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return k.seat.QueryContext(ctx, k.text, args)
}

// Exec is refused: database/sql asks with a context.
func (k *kept) Exec([]driver.Value) (driver.Result, error) { return nil, errNoContext }

// Query is refused: database/sql asks with a context.
func (k *kept) Query([]driver.Value) (driver.Rows, error) { return nil, errNoContext }

// laneTx is the end of a lane's transaction, as database/sql asks for it.
type laneTx struct{ lane *lane }

// Commit is refused, and the transaction is not committed at all.
func (t laneTx) Commit() error { return t.Rollback() }

// Rollback of a lane that has left does nothing. A handler's own is refused, and
// the whole transaction with it: what the handler wants undone would stay.
func (t laneTx) Rollback() error {
	g := t.lane.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.lane.left {
		return nil
	}
	g.t.conn.lose(errUserEnded)
	return errUserEnded
}
