package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rollcall-mq/rollcall/internal/sqltext"
	"github.com/rollcall-mq/rollcall/store/internal/saves"
)

// errUserEnded: the handler ended a transaction that is not its own to end.
var errUserEnded = errors.New("postgres store: the transaction belongs to rollcall, a handler must not begin, commit or roll back: " +
	"return nil to have it committed, an error to have it undone")

// errRefused: a method of pgx.Tx that would go past the store.
var errRefused = errors.New("postgres store: Conn and LargeObjects of a handler's transaction are refused: " +
	"what runs on the bare connection is not seen by rollcall; use the other methods of pgx.Tx")

// errOutlives: a setting that later transactions of the pool would inherit, or
// that takes from the whole batch what the store promises.
var errOutlives = errors.New("postgres store: a handler's setting must not outlive its transaction, nor change how it commits: use SET LOCAL")

// userTx is the transaction as a handler sees it.
type userTx struct {
	t     *Tx
	save  string // name of the savepoint that it stands for; empty: the whole
	ended bool
}

// ready checks the text and sends what waits.
func (u *userTx) ready(ctx context.Context, texts ...string) error {
	if err := u.allowed(texts...); err != nil {
		return err
	}
	return u.t.flush(ctx)
}

func (u *userTx) allowed(texts ...string) error {
	if u.ended {
		return pgx.ErrTxClosed
	}
	for _, text := range texts {
		if err := u.t.s.texts.Of(text, examine).refused; err != nil {
			return err
		}
	}
	return nil
}

// verdict is what the store says of a handler's text.
type verdict struct {
	refused    error // why it may not run
	ungathered error // why it may not run beside others' texts
}

func examine(text string) verdict {
	v := verdict{refused: refused(text)}
	if v.ungathered = v.refused; v.refused == nil {
		if word := sqltext.Savepoint(text, sqltext.PostgreSQL); word != "" {
			v.ungathered = fmt.Errorf("%s would take other handlers' work with it; it was not run: %w", word, errUngathered)
		}
	}
	return v
}

// refused is why a handler may not run a text.
func refused(text string) error {
	if word := sqltext.Ends(text, sqltext.PostgreSQL); word != "" {
		return fmt.Errorf("%w (%s); it was not run", errUserEnded, word)
	}
	if word := sqltext.Outlives(text); word != "" {
		return fmt.Errorf("%w (%s); it was not run", errOutlives, word)
	}
	return nil
}

// Exec implements pgx.Tx.
func (u *userTx) Exec(ctx context.Context, text string, args ...any) (pgconn.CommandTag, error) {
	if err := u.allowed(text); err != nil {
		return pgconn.CommandTag{}, err
	}
	if !u.t.begun && travels(args) {
		return u.first(ctx, text, args)
	}
	if err := u.t.flush(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := u.t.conn.Exec(ctx, text, args...)
	u.t.note(err)
	return tag, explained(err)
}

// travels: without arguments a text may be several statements, and some first
// arguments of pgx are options.
func travels(args []any) bool {
	if len(args) == 0 {
		return false
	}
	switch args[0].(type) {
	case pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID, pgx.QueryRewriter:
		return false
	}
	return true
}

// first runs the first statement of a transaction together with its beginning.
func (u *userTx) first(ctx context.Context, text string, args []any) (tag pgconn.CommandTag, err error) {
	var b pgx.Batch
	b.Queue(text, args...)
	results, err := u.t.along(ctx, &b)
	if err != nil {
		return tag, err
	}
	tag, err = results.Exec()
	if closing := results.Close(); err == nil {
		err = closing
	}
	u.t.note(err)
	return tag, explained(err)
}

// Query implements pgx.Tx.
func (u *userTx) Query(ctx context.Context, text string, args ...any) (pgx.Rows, error) {
	if err := u.ready(ctx, text); err != nil {
		return nil, err
	}
	rows, err := u.t.conn.Query(ctx, text, args...)
	u.t.left = func() { rows.Close() }
	return rows, err
}

// QueryRow implements pgx.Tx.
func (u *userTx) QueryRow(ctx context.Context, text string, args ...any) pgx.Row {
	rows, err := u.Query(ctx, text, args...)
	if err != nil {
		return errRow{err}
	}
	return firstRow{rows}
}

// SendBatch implements pgx.Tx.
func (u *userTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	texts := make([]string, len(b.QueuedQueries))
	for i, q := range b.QueuedQueries {
		texts[i] = q.SQL
	}
	if err := u.allowed(texts...); err != nil {
		return errBatch{err}
	}
	results, err := u.t.along(ctx, b)
	if err != nil {
		return errBatch{err}
	}
	u.t.left = func() { _ = results.Close() }
	return results
}

// CopyFrom implements pgx.Tx.
func (u *userTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, from pgx.CopyFromSource) (int64, error) {
	if err := u.ready(ctx); err != nil {
		return 0, err
	}
	n, err := u.t.conn.CopyFrom(ctx, table, columns, from)
	u.t.note(err)
	return n, err
}

// Prepare implements pgx.Tx.
func (u *userTx) Prepare(ctx context.Context, name, text string) (*pgconn.StatementDescription, error) {
	if err := u.ready(ctx, text); err != nil {
		return nil, err
	}
	return u.t.conn.Conn().Prepare(ctx, name, text)
}

// Begin is a savepoint, as it is in pgx.
func (u *userTx) Begin(ctx context.Context) (pgx.Tx, error) {
	name := "user_" + saves.Name(u.t.saves.New())
	if _, err := u.Exec(ctx, "SAVEPOINT "+name); err != nil {
		return nil, err
	}
	return &userTx{t: u.t, save: name}, nil
}

// Commit releases the savepoint; the whole transaction is not the handler's to
// commit.
func (u *userTx) Commit(ctx context.Context) error {
	if u.save == "" {
		return errUserEnded
	}
	_, err := u.Exec(ctx, "RELEASE SAVEPOINT "+u.save)
	u.ended = u.ended || err == nil
	return err
}

// Rollback undoes to the savepoint; the whole transaction is not the handler's
// to roll back: code that says `defer tx.Rollback(ctx)` and ignores its error
// works unchanged.
func (u *userTx) Rollback(ctx context.Context) error {
	if u.save == "" {
		return errUserEnded
	}
	if u.ended {
		return pgx.ErrTxClosed
	}
	u.ended = true
	if u.t.done || u.t.lost != nil {
		return u.t.Usable()
	}
	for _, verb := range []string{"ROLLBACK TO SAVEPOINT ", "RELEASE SAVEPOINT "} {
		if _, err := u.t.conn.Exec(ctx, verb+u.save); err != nil { // not by Exec: nothing else works after an error
			u.t.note(err)
			return err
		}
	}
	return nil
}

// Check implements rollcall.Checker: it has deferred constraints tested now, and
// still at COMMIT. It costs a turn, so it does nothing until a COMMIT has failed
// on what a message did.
func (t *Tx) Check(ctx context.Context) error {
	if !t.s.defers.Load() {
		return nil
	}
	var b pgx.Batch
	for _, text := range []string{"SAVEPOINT rollcall_check", "SET CONSTRAINTS ALL IMMEDIATE",
		"ROLLBACK TO SAVEPOINT rollcall_check", "RELEASE SAVEPOINT rollcall_check"} {
		b.Queue(text)
	}
	err := t.flush(ctx)
	if err == nil {
		err = t.conn.SendBatch(ctx, &b).Close()
		t.note(err)
	}
	return err
}

// LargeObjects is refused.
func (u *userTx) LargeObjects() pgx.LargeObjects { panic(errRefused) }

// Conn is refused.
func (u *userTx) Conn() *pgx.Conn { panic(errRefused) }

type errRow struct{ err error }

func (r errRow) Scan(...any) error { return r.err }

// firstRow is pgx.Row of rows.
type firstRow struct{ pgx.Rows }

func (r firstRow) Scan(dest ...any) error {
	defer r.Close()
	if !r.Next() {
		if err := r.Err(); err != nil {
			return explained(err)
		}
		return pgx.ErrNoRows
	}
	if err := r.Rows.Scan(dest...); err != nil {
		return err
	}
	r.Close()
	return r.Err()
}

type errBatch struct{ err error }

func (b errBatch) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, b.err }
func (b errBatch) Query() (pgx.Rows, error)         { return nil, b.err }
func (b errBatch) QueryRow() pgx.Row                { return errRow(b) }
func (b errBatch) Close() error                     { return b.err }
func (b errBatch) Tx() pgx.Tx                       { return nil }
