package postgres

import (
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// result is the whole answer to a statement.
type result struct {
	fields []pgconn.FieldDescription
	rows   [][][]byte
	tag    pgconn.CommandTag
	types  *pgtype.Map
	err    error
}

// decoding: a connection's type map keeps what it learnt, and is not safe for
// handlers side by side.
var decoding sync.Mutex

// bufferedRows are pgx.Rows of a result.
type bufferedRows struct {
	*result
	at  int
	bad error // of Scan
}

// Close implements pgx.Rows.
func (r *bufferedRows) Close() { r.at = len(r.rows) }

// Err implements pgx.Rows.
func (r *bufferedRows) Err() error {
	if r.bad != nil {
		return r.bad
	}
	return r.err
}

// CommandTag implements pgx.Rows.
func (r *bufferedRows) CommandTag() pgconn.CommandTag { return r.tag }

// FieldDescriptions implements pgx.Rows.
func (r *bufferedRows) FieldDescriptions() []pgconn.FieldDescription { return r.fields }

// Next implements pgx.Rows.
func (r *bufferedRows) Next() bool {
	r.at = min(r.at+1, len(r.rows))
	return r.at < len(r.rows)
}

// Scan implements pgx.Rows.
func (r *bufferedRows) Scan(dest ...any) error {
	if len(dest) == 1 {
		if whole, is := dest[0].(pgx.RowScanner); is {
			return whole.ScanRow(r)
		}
	}
	decoding.Lock()
	defer decoding.Unlock()
	if err := pgx.ScanRow(r.types, r.fields, r.rows[r.at], dest...); err != nil {
		r.bad = err
		r.at = len(r.rows)
	}
	return r.bad
}

// Values implements pgx.Rows.
func (r *bufferedRows) Values() ([]any, error) {
	out := make([]any, len(r.fields))
	dest := make([]any, len(out))
	for i := range out {
		dest[i] = &out[i]
	}
	err := r.Scan(dest...)
	return out, err
}

// RawValues implements pgx.Rows.
func (r *bufferedRows) RawValues() [][]byte { return r.rows[r.at] }

// Conn implements pgx.Rows: there is none to give.
func (r *bufferedRows) Conn() *pgx.Conn { return nil }

// TypeMap implements pgx.Rows.
func (r *bufferedRows) TypeMap() *pgtype.Map { return r.types }

// oneRow is a pgx.Row.
type oneRow struct{ rows *bufferedRows }

// Scan implements pgx.Row.
func (o oneRow) Scan(dest ...any) error {
	switch {
	case o.rows.err != nil:
		return o.rows.err
	case !o.rows.Next():
		return pgx.ErrNoRows
	}
	return o.rows.Scan(dest...)
}

// bufferedBatch is pgx.BatchResults.
type bufferedBatch struct {
	results []*result
	queries []*pgx.QueuedQuery
	at      int
	err     error
}

func (b *bufferedBatch) next() *result {
	if b.at >= len(b.results) {
		return &result{err: pgx.ErrNoRows}
	}
	b.at++
	return b.results[b.at-1]
}

// Exec implements pgx.BatchResults.
func (b *bufferedBatch) Exec() (pgconn.CommandTag, error) {
	r := b.next()
	return r.tag, r.err
}

// Query implements pgx.BatchResults.
func (b *bufferedBatch) Query() (pgx.Rows, error) {
	r := b.next()
	return &bufferedRows{result: r, at: -1}, r.err
}

// QueryRow implements pgx.BatchResults.
func (b *bufferedBatch) QueryRow() pgx.Row { return oneRow{&bufferedRows{result: b.next(), at: -1}} }

// Close runs the callbacks of what was not read and returns the first error.
func (b *bufferedBatch) Close() error {
	for b.at < len(b.results) {
		query := b.queries[b.at]
		if query.Fn != nil && b.err == nil {
			b.err = query.Fn(b)
			continue
		}
		if r := b.next(); b.err == nil {
			b.err = r.err
		}
	}
	return b.err
}

// Tx implements pgx.BatchResults.
func (b *bufferedBatch) Tx() pgx.Tx { return nil }
