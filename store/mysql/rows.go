package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
)

// typedRows are rows that know their columns' types.
type typedRows interface {
	driver.Rows
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeNullable
	driver.RowsColumnTypePrecisionScale
	driver.RowsColumnTypeScanType
}

// bufferedRows is an answer that was read whole. Of the driver's rows, which are
// closed, only the columns' types are asked.
type bufferedRows struct {
	typedRows
	columns []string
	rows    [][]driver.Value
}

// buffer reads all rows and closes what they come from.
func buffer(from driver.Rows) (driver.Rows, error) {
	typed, ok := from.(typedRows)
	if !ok {
		_ = from.Close()
		return nil, errors.New("mysql store: the driver's rows lack what this version of rollcall needs")
	}
	b := &bufferedRows{typedRows: typed, columns: from.Columns()}
	for {
		row := make([]driver.Value, len(b.columns))
		err := from.Next(row)
		if err == io.EOF { //nolint: database/sql compares so
			return b, from.Close()
		}
		if err != nil {
			_ = from.Close()
			return nil, err
		}
		for i, v := range row {
			if text, is := v.([]byte); is && text != nil { // it lies in the connection's buffer
				row[i] = append(make([]byte, 0, len(text)), text...)
			}
		}
		b.rows = append(b.rows, row)
	}
}

// Columns implements driver.Rows.
func (b *bufferedRows) Columns() []string { return b.columns }

// Next implements driver.Rows.
func (b *bufferedRows) Next(dest []driver.Value) error {
	if len(b.rows) == 0 {
		return io.EOF
	}
	copy(dest, b.rows[0])
	b.rows = b.rows[1:]
	return nil
}

// Close implements driver.Rows.
func (b *bufferedRows) Close() error {
	b.rows = nil
	return nil
}

// stmt is a prepared statement.
type stmt struct {
	driver.Stmt
	conn *conn
	text string
}

var errNoContext = errors.New("mysql store: the driver's statements lack what this version of rollcall needs")

// ExecContext implements driver.StmtExecContext.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	in, ok := s.Stmt.(driver.StmtExecContext)
	if !ok {
		return nil, errNoContext
	}
	l, err := s.conn.admit(ctx, s.text)
	if err != nil {
		return nil, err
	}
	if err := s.conn.before(l); err != nil {
		return nil, err
	}
	res, err := in.ExecContext(ctx, args)
	return res, s.conn.left(l, s.conn.after(l, err))
}

// QueryContext implements driver.StmtQueryContext.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	in, ok := s.Stmt.(driver.StmtQueryContext)
	if !ok {
		return nil, errNoContext
	}
	l, err := s.conn.admit(ctx, s.text)
	if err != nil {
		return nil, err
	}
	if err := s.conn.before(l); err != nil {
		return nil, err
	}
	rows, err := in.QueryContext(ctx, args)
	return s.conn.read(l, rows, err)
}

// CheckNamedValue implements driver.NamedValueChecker.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error { return s.conn.CheckNamedValue(v) }
