package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rollcall-mq/rollcall/internal/jsonpath"
)

// The formats of send.
const (
	formatNDJSON = "ndjson"
	formatCSV    = "csv"
	formatRaw    = "raw"
)

var formats = []string{formatNDJSON, formatCSV, formatRaw}

// formatOf is the format that was asked for, or the one that the name ends in.
func formatOf(asked, name string) (string, error) {
	if asked != "" {
		if !slices.Contains(formats, asked) {
			return "", usage(fmt.Errorf("--format %q is not known", asked), "use ndjson, csv or raw")
		}
		return asked, nil
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".ndjson", ".jsonl":
		return formatNDJSON, nil
	case ".csv":
		return formatCSV, nil
	}
	if name == "-" {
		return "", usage(errors.New("stdin does not tell its format"), "add --format ndjson, csv or raw")
	}
	return "", usage(fmt.Errorf("the name of %q does not tell its format", name), "add --format ndjson, csv or raw")
}

// record is one message to be. Its number counts records from 1, whatever
// becomes of them: it is part of the stamp of a file.
type record struct {
	number uint64
	line   int
	body   []byte
	// bad is what is wrong with it; it is not sent.
	bad error
	// long is its size when it is longer than was held.
	long int64
}

// records cuts records out of a stream.
type records interface {
	// next returns the next record, or io.EOF. A bad record is no error.
	next() (record, error)
}

// newRecords reads records whose bodies have at most so many bytes.
func newRecords(format string, r io.Reader, most int) records {
	switch format {
	case formatCSV:
		return &csvRecords{lines: newLineReader(r, 2*most), most: 2 * most}
	case formatRaw:
		return &lineRecords{lines: newLineReader(r, most), check: func([]byte) error { return nil }}
	}
	return &lineRecords{lines: newLineReader(r, most), json: true, check: checkJSON}
}

// lineRecords is a record a line; blank lines are none.
type lineRecords struct {
	lines  *lineReader
	json   bool
	check  func([]byte) error
	number uint64
}

func (r *lineRecords) next() (record, error) {
	for {
		l, err := r.lines.next()
		if err != nil {
			return record{}, err
		}
		if r.json && l.number == 1 {
			l.data = bytes.TrimPrefix(l.data, byteOrderMark)
		}
		blank := len(l.data) == 0 || r.json && len(bytes.TrimSpace(l.data)) == 0
		if blank && !l.long() {
			continue
		}
		r.number++
		rec := record{number: r.number, line: l.number, body: l.data}
		if l.long() {
			rec.long = l.size
			return rec, nil
		}
		rec.bad = r.check(l.data)
		return rec, nil
	}
}

// byteOrderMark is what some programs write before UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf")

// checkText refuses what is no text.
func checkText(b []byte) error {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return fmt.Errorf("NUL at byte %d", i+1)
	}
	if utf8.Valid(b) {
		return nil
	}
	for i := 0; ; {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return fmt.Errorf("not UTF-8 at byte %d (0x%02x)", i+1, b[i])
		}
		i += n
	}
}

func checkJSON(b []byte) error {
	if err := checkText(b); err != nil {
		return err
	}
	if _, err := jsonpath.Parse(b); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "payload is "))
	}
	return nil
}
