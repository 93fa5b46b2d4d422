package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"reflect"
)

// typedRows are rows that know their columns' types, and whether another answer
// follows them.
type typedRows interface {
	driver.RowsNextResultSet
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeNullable
	driver.RowsColumnTypePrecisionScale
	driver.RowsColumnTypeScanType
}

// column is what rows say of one of theirs.
type column struct {
	name             string
	typ              string
	null, nullKnown  bool
	precision, scale int64
	sized            bool
	scan             reflect.Type
}

// bufferedRows is an answer that was read whole.
type bufferedRows struct {
	columns []column
	rows    [][]driver.Value
}

// buffer reads all rows and closes what they come from.
func buffer(from driver.Rows) (driver.Rows, error) {
	b, err := bufferOne(from)
	if closing := from.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// bufferOne reads all rows of one answer.
func bufferOne(from driver.Rows) (*bufferedRows, error) {
	typed, ok := from.(typedRows)
	if !ok {
		return nil, errors.New("mysql store: the driver's rows lack what this version of rollcall needs")
	}
	b := new(bufferedRows)
	for i, name := range from.Columns() {
		c := column{name: name, typ: typed.ColumnTypeDatabaseTypeName(i), scan: typed.ColumnTypeScanType(i)}
		c.null, c.nullKnown = typed.ColumnTypeNullable(i)
		c.precision, c.scale, c.sized = typed.ColumnTypePrecisionScale(i)
		b.columns = append(b.columns, c)
	}
	for {
		row := make([]driver.Value, len(b.columns))
		err := from.Next(row)
		if err == io.EOF { //nolint: database/sql compares so
			return b, nil
		}
		if err != nil {
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
func (b *bufferedRows) Columns() []string {
	names := make([]string, len(b.columns))
	for i := range names {
		names[i] = b.columns[i].name
	}
	return names
}

// ColumnTypeDatabaseTypeName implements driver.RowsColumnTypeDatabaseTypeName.
func (b *bufferedRows) ColumnTypeDatabaseTypeName(i int) string { return b.columns[i].typ }

// ColumnTypeNullable implements driver.RowsColumnTypeNullable.
func (b *bufferedRows) ColumnTypeNullable(i int) (nullable, ok bool) {
	return b.columns[i].null, b.columns[i].nullKnown
}

// ColumnTypePrecisionScale implements driver.RowsColumnTypePrecisionScale.
func (b *bufferedRows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	return b.columns[i].precision, b.columns[i].scale, b.columns[i].sized
}

// ColumnTypeScanType implements driver.RowsColumnTypeScanType.
func (b *bufferedRows) ColumnTypeScanType(i int) reflect.Type { return b.columns[i].scan }

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
