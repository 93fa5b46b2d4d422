package interval

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// lossy is 1 to n without some of them.
func lossy(n uint64, lost int, seed uint64) *Set {
	rnd := rand.New(rand.NewPCG(seed, 0))
	gone := map[uint64]bool{}
	for len(gone) < lost {
		gone[1+rnd.Uint64N(n)] = true
	}
	s, next := new(Set), uint64(1)
	for _, g := range slices.Sorted(maps.Keys(gone)) {
		s.AddRange(next, g-1) // ignored if two in a row are gone
		next = g + 1
	}
	s.AddRange(next, n)
	return s
}

// numbers is 1 to n in order, except that a share of them comes up to 100 later
// and a share comes twice.
func numbers(n int, late, twice float64) []uint64 {
	rnd := rand.New(rand.NewPCG(1, 2))
	var out []uint64
	for i := range n {
		out = append(out, uint64(i+1))
		if rnd.Float64() < twice {
			out = append(out, uint64(max(1, i+1-rnd.IntN(100))))
		}
	}
	for i := range out {
		if rnd.Float64() < late {
			j := min(len(out)-1, i+1+rnd.IntN(100))
			v := out[i]
			copy(out[i:j], out[i+1:j+1])
			out[j] = v
		}
	}
	return out
}

var known int // keeps the answers from being optimised away

// BenchmarkMessage does per number what an owner does: ask, then add.
func BenchmarkMessage(b *testing.B) {
	for name, in := range map[string][]uint64{
		"in_order":       numbers(1_000_000, 0, 0),
		"reordered_1%":   numbers(1_000_000, 0.01, 0),
		"duplicates_20%": numbers(1_000_000, 0, 0.2),
		"lost_0.1%":      numbersOf(lossy(1_000_000, 1000, 1)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var s Set
			i := len(in)
			for b.Loop() {
				if i == len(in) {
					i, s = 0, Set{}
				}
				if s.Answer(in[i]) == New {
					s.Add(in[i])
				} else {
					known++
				}
				i++
			}
		})
	}
}

func numbersOf(s *Set) []uint64 {
	var out []uint64
	for r := range s.Ranges() {
		for n := r.First; n <= r.Last; n++ {
			out = append(out, n)
		}
	}
	return out
}

// BenchmarkSets spreads the numbers over 100,000 sets.
func BenchmarkSets(b *testing.B) {
	const n = 100_000
	for name, random := range map[string]bool{"round_robin": false, "random": true} {
		b.Run(name, func(b *testing.B) {
			sets := make([]*Set, n)
			for i := range sets {
				sets[i] = new(Set)
			}
			next := make([]uint64, n)
			order := make([]uint32, 1<<20)
			for i := range order {
				order[i] = uint32(i % n)
				if random {
					order[i] = rand.Uint32N(n)
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				k := order[i&(1<<20-1)]
				next[k]++
				if s := sets[k]; s.Answer(next[k]) == New {
					s.Add(next[k])
				}
				i++
			}
		})
	}
}

// BenchmarkCodec encodes and decodes a set in order and one with 1000 holes.
func BenchmarkCodec(b *testing.B) {
	ordered := new(Set)
	ordered.AddRange(1, 1_000_000)
	for name, s := range map[string]*Set{"in_order": ordered, "lost_0.1%": lossy(1_000_000, 1000, 1)} {
		data, _ := s.AppendBinary(nil)
		b.Run("encode/"+name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, len(data))
			for b.Loop() {
				buf, _ = s.AppendBinary(buf[:0])
			}
			b.ReportMetric(float64(len(buf)), "bytes")
		})
		b.Run("decode/"+name, func(b *testing.B) {
			b.ReportAllocs()
			var out Set
			for b.Loop() {
				if err := out.UnmarshalBinary(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkUpkeep is what happens once a batch rather than once a number.
func BenchmarkUpkeep(b *testing.B) {
	s, batch := lossy(1_000_000, 1000, 1), build([]Range{{999_000, 999_400}, {999_402, 1_000_000}}, nil)
	b.Run("merge", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Merge(batch)
		}
	})
	b.Run("limit_fits", func(b *testing.B) {
		for b.Loop() {
			s.Limit(4000)
		}
	})
	b.Run("limit_cuts", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Clone().Limit(2000)
		}
	})
}
