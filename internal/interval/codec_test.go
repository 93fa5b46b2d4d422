package interval

import (
	"bytes"
	"encoding/hex"
	"errors"
	"runtime"
	"strings"
	"testing"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// encodings pins the format: rows stay readable as long as version 1 is read.
var encodings = map[string]*Set{
	"10":                                  new(Set),
	"11 01":                               build([]Range{{1, 1}}, nil),
	"11 ff ff 7f":                         build([]Range{{1, 1<<21 - 1}}, nil),
	"11 ffffffffffffffffff01":             build([]Range{{1, end}}, nil),
	"12 01 01 01":                         build([]Range{{2, 2}}, nil),
	"12 01 feffffffffffffffff01 01":       build([]Range{{end, end}}, nil),
	"12 02 00 04 01 03":                   build([]Range{{1, 4}, {6, 8}}, nil),
	"12 02 00 01 fdffffffffffffffff01 01": build([]Range{{1, 1}, {end, end}}, nil),
	"13 00 01 00 01":                      build(nil, []Range{{1, 1}}),
	"13 01 00 04 01 04 02":                build([]Range{{1, 4}}, []Range{{5, 6}}),
	"13 02 00 04 03 02 02 04 01 05 01":    build([]Range{{1, 4}, {8, 9}}, []Range{{5, 5}, {11, 11}}),
	"13 01 02 01 02 00 01 03 01":          build([]Range{{3, 3}}, []Range{{1, 1}, {5, 5}}),
	"13 00 01 00 ffffffffffffffffff01":    build(nil, []Range{{1, end}}),
	"13 01 00 808080808080808040 01 808080808080808040 01": build([]Range{{1, 1 << 62}}, []Range{{1<<62 + 1, 1<<62 + 1}}),
}

func TestEncodings(t *testing.T) {
	for text, s := range encodings {
		b, err := s.AppendBinary(nil)
		if err != nil || !bytes.Equal(b, unhex(text)) {
			t.Errorf("%v encodes as % x, %v; want %s", collect(s.taken()), b, err, text)
		}
		var back Set
		if err := back.UnmarshalBinary(unhex(text)); err != nil || !back.Equal(s) {
			t.Errorf("%s decodes as %v, %v", text, collect(back.taken()), err)
		}
		// Every proper prefix and every longer input is another thing.
		for i := range b {
			if err := back.UnmarshalBinary(b[:i]); !errors.Is(err, ErrMalformed) {
				t.Errorf("% x: %v", b[:i], err)
			}
		}
		if err := back.UnmarshalBinary(append(b, 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("trailing byte: %v", err)
		}
		if !back.Equal(s) {
			t.Errorf("%s: a failed decode changed the set", text)
		}
	}
}

var malformedInputs = map[string]string{
	"":                                       "no bytes",
	"14":                                     "unknown kind",
	"1f 01":                                  "unknown kind",
	"10 00":                                  "trailing bytes",
	"11":                                     "truncated",
	"11 00":                                  "empty prefix",
	"11 80 00":                               "overlong number",
	"11 81 80 00":                            "overlong number",
	"11 ffffffffffffffffff02":                "number too large",
	"11 ffffffffffffffffffff01":              "number too large",
	"12 00":                                  "a shorter kind exists",
	"12 01 00 05":                            "a shorter kind exists",
	"12 02 00 05":                            "truncated",
	"12 02 00 05 01":                         "truncated",
	"12 02 00 05 00 05":                      "ranges touch",
	"12 02 00 05 01 00":                      "empty range",
	"12 01 01 00":                            "empty range",
	"12 01 01 ffffffffffffffffff01":          "number too large", // ends at 2^64
	"12 01 ffffffffffffffffff01 01":          "number too large", // begins at 2^64
	"12 02 01 01 feffffffffffffffff01 01":    "number too large",
	"12 02 01 01 fcffffffffffffffff01 02":    "number too large",
	"12 ffffffffffffffffff01 00 01":          "truncated",
	"12 ffffffff07 00 01":                    "truncated",
	"13 01 01 01 00":                         "no unknown range",
	"13 00 00":                               "no unknown range",
	"13 00 02 00 01 00 01":                   "ranges touch",
	"13 01 00 04 01 03 02":                   "a number is both known and unknown", // 4
	"13 01 04 04 01 00 05":                   "a number is both known and unknown", // 5
	"13 02 00 04 03 02 01 08 01":             "a number is both known and unknown", // 9
	"13 01 02 01 01 00 ffffffffffffffffff01": "a number is both known and unknown",
	"13 02 00 01 01 01 02 01 01":             "truncated",
	"13 01 00 01 02 01 01 00 01":             "ranges touch",
}

func TestMalformed(t *testing.T) {
	for text, cause := range malformedInputs {
		s := build([]Range{{1, 4}, {6, 7}}, []Range{{9, 9}})
		err := s.UnmarshalBinary(unhex(text))
		if !errors.Is(err, ErrMalformed) || !strings.HasSuffix(err.Error(), ": "+cause) {
			t.Errorf("%s: %v, want %s", text, err, cause)
		}
		want(t, s, []Range{{1, 4}, {6, 7}}, []Range{{9, 9}})
	}
	for _, text := range []string{"00", "01 05", "20", "21 05", "ff"} {
		if err := new(Set).UnmarshalBinary(unhex(text)); !errors.Is(err, ErrVersion) || errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrVersion", text, err)
		}
	}
}

func TestDecodeKeepsNothing(t *testing.T) {
	b := unhex("12 02 00 04 01 03")
	var s Set
	if err := s.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	clear(b)
	want(t, &s, []Range{{1, 4}, {6, 8}}, nil)
}

func TestDecodeMemory(t *testing.T) {
	b, _ := build([]Range{{1, 1 << 62}}, nil).AppendBinary(nil)
	var s Set
	if a := testing.AllocsPerRun(100, func() { _ = s.UnmarshalBinary(b) }); a != 0 {
		t.Errorf("%v allocations for 2^62 numbers", a)
	}
	b, _ = build([]Range{{5, 1 << 62}, {1<<62 + 5, 1 << 63}}, nil).AppendBinary(nil)
	if a := testing.AllocsPerRun(100, func() { _ = s.UnmarshalBinary(b) }); a > 2 {
		t.Errorf("%v allocations for two ranges", a)
	}
	if s.Count() != 1<<62-4+1<<63-1<<62-4 {
		t.Errorf("Count() = %d", s.Count())
	}
	// A count that the input cannot hold must not be believed, be it by far or
	// by one.
	long := append(unhex("12 81 80 20"), make([]byte, 1<<20)...)
	for _, liar := range [][]byte{unhex("12 ffffffff07 00 01"), unhex("12 ffff03 00 01"), long} {
		if n := decodeBytes(liar); n > 1<<16 {
			t.Errorf("%d bytes allocated for %d of input", n, len(liar))
		}
	}
}

// decodeBytes returns how much memory decoding b takes.
func decodeBytes(b []byte) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_ = new(Set).UnmarshalBinary(b)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestSizes(t *testing.T) {
	for _, n := range []uint64{1, 127, 1_000_000, 2_000_000} {
		if size := build([]Range{{1, n}}, nil).Size(); size > 4 {
			t.Errorf("1 to %d takes %d bytes", n, size)
		}
	}
	for seed := range uint64(20) {
		if size := lossy(1_000_000, 1000, seed).Size(); size > 3000 {
			t.Errorf("a million with 1000 lost takes %d bytes", size)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for text := range encodings {
		f.Add(unhex(text))
	}
	for text := range malformedInputs {
		f.Add(unhex(text))
	}
	b, _ := lossy(100_000, 100, 1).AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := decodeBytes(b); n > 64<<10+uint64(16*len(b)) {
			t.Fatalf("%d bytes allocated for %d of input", n, len(b))
		}
		var s Set
		if err := s.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			want(t, &s, nil, nil)
			return
		}
		checkShape(t, &s)
		again, _ := s.AppendBinary(nil)
		if !bytes.Equal(again, b) || s.Size() != len(b) {
			t.Fatalf("% x encodes again as % x, size %d", b, again, s.Size())
		}
		floor := s.Floor()
		_, any := s.Limit(len(b) - 1)
		checkShape(t, &s)
		if s.Floor() != floor || any && s.Size() >= len(b) && s.Size() > 33 {
			t.Fatalf("Limit: floor %d to %d, %d bytes to %d", floor, s.Floor(), len(b), s.Size())
		}
	})
}
