package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
)

// nanos is a time as it is kept for comparing: nanoseconds since 1970, clamped
// to what 64 bits hold (the years 1678 to 2262). The zero time is the earliest.
func nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// timeBytes keeps a message's time exactly, its offset from UTC included. The
// zero time is nil.
func timeBytes(t time.Time) []byte {
	if t.IsZero() {
		return nil
	}
	b, err := t.MarshalBinary()
	if err != nil { // an offset of odd length: keep the instant
		b, _ = t.UTC().MarshalBinary()
	}
	return b
}

func parseTime(b []byte) (time.Time, error) {
	var t time.Time
	if len(b) == 0 {
		return t, nil
	}
	err := t.UnmarshalBinary(b)
	return t, err
}

// headerBytes is injective: the number of headers, then for each the lengths
// and bytes of name and value. No headers are nil.
func headerBytes(headers []rollcall.Header) []byte {
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

func parseHeaders(b []byte) ([]rollcall.Header, error) {
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

func stampBytes(s rollcall.Stamp) []byte {
	if s.IsZero() {
		return nil
	}
	return rollcall.AppendStamp(nil, s)
}

func parseStamp(b []byte) (rollcall.Stamp, error) {
	if len(b) == 0 {
		return rollcall.Stamp{}, nil
	}
	return rollcall.ParseStamp(b)
}

const positionSize = 28

func positionBytes(p rollcall.Position) []byte {
	if p == (rollcall.Position{}) {
		return nil
	}
	b := make([]byte, 0, positionSize)
	b = append(b, p.Incarnation[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Offset))
	return binary.BigEndian.AppendUint32(b, uint32(p.LeaderEpoch))
}

func parsePosition(b []byte) (rollcall.Position, error) {
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

// sum is CRC-32C over values, each with its length, so that no two lists of
// values have the same bytes.
func sum(values ...any) int64 {
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
