package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// csvRecords makes a JSON object of strings of each row, the columns in their
// order, named by the header. A row may have line breaks inside quotes.
type csvRecords struct {
	lines  *lineReader
	most   int
	header []string // as JSON texts
	number uint64
}

func (r *csvRecords) next() (record, error) {
	if r.header == nil {
		if err := r.readHeader(); err != nil {
			return record{}, err
		}
	}
	row, err := r.row()
	if err != nil {
		return record{}, err
	}
	r.number++
	rec := record{number: r.number, line: row.line, long: row.long, bad: row.bad}
	if rec.bad == nil && rec.long == 0 {
		rec.body, rec.bad = r.object(row.data)
	}
	return rec, nil
}

// csvRow is the bytes of one row.
type csvRow struct {
	line int
	data []byte
	long int64
	bad  error
}

// row joins lines until the quotes are even. It never holds more than most
// bytes, also of a file in which a quote is never closed.
func (r *csvRecords) row() (csvRow, error) {
	var row csvRow
	var size int64
	quotes := 0
	for {
		l, err := r.lines.next()
		if err == io.EOF && row.line > 0 {
			row.bad = fmt.Errorf("the quote that is opened in it is never closed, so everything up to the end, line %d, is part of it", r.lines.line-1)
			row.data, row.long = nil, 0
			return row, nil
		}
		if err != nil {
			return row, err
		}
		if row.line == 0 {
			if len(l.data) == 0 && !l.long() {
				continue // a blank line between rows
			}
			row.line = l.number
		} else if row.long == 0 {
			row.data = append(row.data, '\n')
		}
		size += l.size
		quotes += l.quotes
		if l.long() || len(row.data)+len(l.data) > r.most {
			row.long = size
			row.data = nil
		} else if row.long == 0 {
			row.data = append(row.data, l.data...)
		}
		if quotes%2 == 0 {
			if row.long > 0 {
				row.long = size
			}
			return row, nil
		}
	}
}

// errHeader: without names there are no records.
func errHeader(format string, args ...any) error {
	return findings(fmt.Errorf("line 1: "+format, args...), "the first row must name the columns, each once; nothing was sent")
}

func (r *csvRecords) readHeader() error {
	row, err := r.row()
	switch {
	case err == io.EOF:
		return io.EOF
	case err != nil:
		return err
	case row.bad != nil:
		return errHeader("%w", row.bad)
	case row.long > 0:
		return errHeader("it has %d bytes", row.long)
	}
	names, err := fields(bytes.TrimPrefix(row.data, byteOrderMark))
	if err != nil {
		return errHeader("%w", err)
	}
	seen := make(map[string]bool)
	for i, name := range names {
		if name == "" {
			return errHeader("column %d has no name", i+1)
		}
		if seen[name] {
			return errHeader("column %q stands there twice", name)
		}
		seen[name] = true
		r.header = append(r.header, quoteJSON(name))
	}
	return nil
}

// object is a row as JSON.
func (r *csvRecords) object(data []byte) ([]byte, error) {
	values, err := fields(data)
	if err != nil {
		return nil, err
	}
	if len(values) != len(r.header) {
		few := "few"
		if len(values) > len(r.header) {
			few = "many"
		}
		return nil, fmt.Errorf("too %s fields: it has %d, the header has %d", few, len(values), len(r.header))
	}
	var b bytes.Buffer
	for i, v := range values {
		if i == 0 {
			b.WriteByte('{')
		} else {
			b.WriteByte(',')
		}
		b.WriteString(r.header[i])
		b.WriteByte(':')
		b.WriteString(quoteJSON(v))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// fields splits one row.
func fields(data []byte) ([]string, error) {
	if err := checkText(data); err != nil {
		return nil, err
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord = -1
	values, err := r.Read()
	var where *csv.ParseError
	if errors.As(err, &where) {
		return nil, fmt.Errorf("not CSV at column %d: %w", where.Column, where.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("not CSV: %w", err)
	}
	return values, nil
}

// quoteJSON is s as a JSON string, with < > & as they are.
func quoteJSON(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("rollcall: a string that JSON does not take: " + err.Error())
	}
	return strings.TrimSuffix(b.String(), "\n")
}
