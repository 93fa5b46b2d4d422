package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lineReader cuts lines without ever holding more than most bytes of one: of a
// longer line it keeps nothing but its length.
type lineReader struct {
	from *bufio.Reader
	most int
	line int // number of the line read last
}

func newLineReader(r io.Reader, most int) *lineReader {
	return &lineReader{from: bufio.NewReaderSize(r, 64<<10), most: most}
}

// line is one line without its end (LF or CRLF).
type line struct {
	number int
	data   []byte // nil when it is too long
	size   int64
	quotes int // how many double quotes it holds
}

// next returns the next line, or io.EOF.
func (r *lineReader) next() (line, error) {
	r.line++
	l := line{number: r.line}
	long := false
	for {
		part, err := r.from.ReadSlice('\n')
		l.size += int64(len(part))
		l.quotes += bytes.Count(part, []byte{'"'})
		if long = long || len(l.data)+len(part) > r.most+2; !long {
			l.data = append(l.data, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && l.size == 0:
			return line{}, io.EOF
		case err != nil && err != io.EOF:
			return line{}, err
		}
		break
	}
	if long {
		l.data = nil
		return l, nil
	}
	l.data = bytes.TrimSuffix(l.data, []byte{'\n'})
	l.data = bytes.TrimSuffix(l.data, []byte{'\r'})
	return l, nil
}

// long reports whether the line was longer than is held.
func (l *line) long() bool { return l.data == nil && l.size > 0 }
