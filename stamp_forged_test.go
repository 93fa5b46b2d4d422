package rollcall_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/rollcall-mq/rollcall"
)

// TestForgedStamps: a stamp that is cut short, goes on, or holds a number that is none is
// an error, and never taken for a message without a stamp; what can be read is one
// identity, however it was written.
func TestForgedStamps(t *testing.T) {
	s := rollcall.Stamp{Life: rollcall.Life{1}, Lane: 300, Sequence: 1 << 40, Origin: 7}
	good := rollcall.AppendStamp(nil, s)
	upTo := good[:25] // head, life, origin
	bad := map[string][]byte{
		"a byte follows":       append(slices.Clone(good), 0),
		"twice":                append(slices.Clone(good), good...),
		"version 0":            append([]byte{0}, good[1:]...),
		"version 127":          append([]byte{127}, good[1:]...),
		"sequence 0":           slices.Concat(upTo, []byte{3, 0}),
		"sequence 0, long":     slices.Concat(upTo, []byte{3, 0x80, 0x80, 0}),
		"lane of 33 bits":      slices.Concat(upTo, []byte{0x80, 0x80, 0x80, 0x80, 0x10, 1}),
		"negative lane":        slices.Concat(upTo, bytes.Repeat([]byte{0xff}, 9), []byte{1, 1}),
		"sequence of 65 bits":  slices.Concat(upTo, []byte{3}, bytes.Repeat([]byte{0xff}, 9), []byte{2}),
		"negative, as Java's":  slices.Concat(upTo, []byte{3}, bytes.Repeat([]byte{0xff}, 9), []byte{0x7f}),
		"a number without end": slices.Concat(upTo, []byte{3}, bytes.Repeat([]byte{0xff}, 15)),
	}
	for n := range good {
		bad["the first bytes only"] = good[:n]
		for name, b := range bad {
			if got, err := rollcall.ParseStamp(b); !errors.Is(err, rollcall.ErrBadStamp) || got != (rollcall.Stamp{}) {
				t.Fatalf("%s: %x is %+v, %v; want ErrBadStamp", name, b, got, err)
			}
		}
	}
	for name, c := range map[string]struct {
		bytes []byte
		want  rollcall.Stamp
	}{
		"the highest number":    {slices.Concat(upTo, []byte{3}, bytes.Repeat([]byte{0xff}, 9), []byte{1}), rollcall.Stamp{Life: s.Life, Origin: 7, Lane: 3, Sequence: math.MaxUint64}},
		"longer than necessary": {slices.Concat(upTo, []byte{0x83, 0, 0x85, 0x80, 0}), rollcall.Stamp{Life: s.Life, Origin: 7, Lane: 3, Sequence: 5}},
		"the highest lane":      {slices.Concat(upTo, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1}), rollcall.Stamp{Life: s.Life, Origin: 7, Lane: math.MaxUint32, Sequence: 1}},
		"a life of zeros":       {slices.Concat([]byte{1}, make([]byte, 24), []byte{0, 1}), rollcall.Stamp{Sequence: 1}},
	} {
		if got, err := rollcall.ParseStamp(c.bytes); err != nil || got != c.want {
			t.Errorf("%s: %x is %+v, %v; want %+v", name, c.bytes, got, err, c.want)
		}
	}
}
