// Package rows is how the SQL stores keep what a message brings, whatever the
// database: text of messages (ids, keys, headers) as bytes, so that any bytes
// survive, times as nanoseconds, and sums that tell a damaged row.
package rows

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
)

// Nanos is a time as it is kept for comparing: nanoseconds since 1970, clamped
// to what 64 bits hold (the years 1678 to 2262). The zero time is the earliest.
func Nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// FromNanos is the time of Nanos, in UTC.
func FromNanos(n int64) time.Time {
	if n == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// TimeBytes keeps a message's time exactly, its offset from UTC included. The
// zero time is nil.
func TimeBytes(t time.Time) []byte {
	if t.IsZero() {
		return nil
	}
	b, err := t.MarshalBinary()
	if err != nil { // an offset of odd length: keep the instant
		b, _ = t.UTC().MarshalBinary()
	}
	return b
}

// ParseTime reads TimeBytes.
func ParseTime(b []byte) (time.Time, error) {
	var t time.Time
	if len(b) == 0 {
		return t, nil
	}
	err := t.UnmarshalBinary(b)
	return t, err
}

// HeaderBytes is injective: the number of headers, then for each the lengths
// and bytes of name and value. No headers are nil.
func HeaderBytes(headers []rollcall.Header) []byte {
	if len(headers) == 0 {
		return nil
	}
	b := binary.AppendUvarint(nil, uint64(len(headers)))
	for _, h := range headers {
		b = binary.AppendUvarint(b, uint64(len(h.Name)))
		b = append(b, h.Name...)
		b = binary.AppendUvarint(b, uint64(len(h.Value)))
		b = append(b, h.Value...)
	}
	return b
}

var errHeaders = errors.New("its headers cannot be read")

// ParseHeaders reads HeaderBytes.
func ParseHeaders(b []byte) ([]rollcall.Header, error) {
	if len(b) == 0 {
		return nil, nil
	}
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)) {
		return nil, errHeaders
	}
	b = b[used:]
	piece := func() ([]byte, bool) {
		size, used := binary.Uvarint(b)
		if used <= 0 || size > uint64(len(b)-used) {
			return nil, false
		}
		p := b[used : used+int(size) : used+int(size)]
		b = b[used+int(size):]
		return p, true
	}
	out := make([]rollcall.Header, 0, n)
	for range n {
		name, ok1 := piece()
		value, ok2 := piece()
		if !ok1 || !ok2 {
			return nil, errHeaders
		}
		out = append(out, rollcall.Header{Name: string(name), Value: value})
	}
	if len(b) != 0 {
		return nil, errHeaders
	}
	return out, nil
}

// StampBytes is a stamp as it travels; the zero stamp is nil.
func StampBytes(s rollcall.Stamp) []byte {
	if s.IsZero() {
		return nil
	}
	return rollcall.AppendStamp(nil, s)
}

// ParseStamp reads StampBytes.
func ParseStamp(b []byte) (rollcall.Stamp, error) {
	if len(b) == 0 {
		return rollcall.Stamp{}, nil
	}
	return rollcall.ParseStamp(b)
}

const positionSize = 28

// PositionBytes is a position of fixed length; the zero position is nil.
func PositionBytes(p rollcall.Position) []byte {
	if p == (rollcall.Position{}) {
		return nil
	}
	b := make([]byte, 0, positionSize)
	b = append(b, p.Incarnation[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Offset))
	return binary.BigEndian.AppendUint32(b, uint32(p.LeaderEpoch))
}

// ParsePosition reads PositionBytes.
func ParsePosition(b []byte) (rollcall.Position, error) {
	var p rollcall.Position
	if len(b) == 0 {
		return p, nil
	}
	if len(b) != positionSize {
		return p, fmt.Errorf("its position has %d bytes", len(b))
	}
	copy(p.Incarnation[:], b)
	p.Offset = int64(binary.BigEndian.Uint64(b[16:]))
	p.LeaderEpoch = int32(binary.BigEndian.Uint32(b[24:]))
	return p, nil
}

// Sum is CRC-32C over values, each with its length, so that no two lists of
// values have the same bytes.
func Sum(values ...any) int64 {
	h := crc32.New(castagnoli())
	var n [8]byte
	put := func(b []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		_, _ = h.Write(n[:])
		_, _ = h.Write(b)
	}
	for _, v := range values {
		switch v := v.(type) {
		case []byte:
			put(v)
		case string:
			put([]byte(v))
		default:
			put(fmt.Append(nil, v))
		}
	}
	return int64(h.Sum32())
}

// castagnoli is the table of CRC-32C; the package keeps it made.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// RollSum is the sum over a roll.
func RollSum(group string, scope, data []byte) int64 {
	h := crc32.New(castagnoli())
	_, _ = h.Write([]byte(group))
	_, _ = h.Write(scope)
	_, _ = h.Write(data)
	return int64(h.Sum32())
}

// Bytes is never NULL.
func Bytes(s string) []byte { return append([]byte{}, s...) }
