package interval

import (
	"iter"
	"slices"
	"sort"
)

// The functions below work on slices of ranges that are sorted and have at least
// one number between neighbours. They compare with First-1 rather than Last+1:
// First is never 0, but Last may be the largest number there is.

// seek returns the index of the first range that ends at n or later, len(rs) if
// there is none. Numbers from the last range upwards take constant time, since
// that is where numbers usually arrive.
func seek(rs []Range, n uint64) int {
	k := len(rs)
	switch {
	case k == 0 || rs[k-1].Last < n:
		return k
	case rs[k-1].First <= n:
		return k - 1
	}
	return sort.Search(k, func(i int) bool { return rs[i].Last >= n })
}

// contains tests for numbers above all ranges by itself, so that the compiler
// can inline the usual case.
func contains(rs []Range, n uint64) bool {
	return len(rs) > 0 && n <= rs[len(rs)-1].Last && within(rs, n)
}

func within(rs []Range, n uint64) bool {
	i := seek(rs, n)
	return i < len(rs) && rs[i].First <= n
}

// insert adds r and joins it with every range that it overlaps or touches.
func insert(rs []Range, r Range) []Range {
	i := seek(rs, r.First-1)
	j := i
	for j < len(rs) && rs[j].First-1 <= r.Last {
		j++
	}
	if i == j {
		return slices.Insert(rs, i, r)
	}
	rs[i] = Range{min(rs[i].First, r.First), max(rs[j-1].Last, r.Last)}
	return slices.Delete(rs, i+1, j)
}

// union returns every number of a and b in a new slice.
func union(a, b []Range) []Range {
	out := make([]Range, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		if len(a) == 0 || len(b) > 0 && b[0].First < a[0].First {
			a, b = b, a
		}
		r := a[0]
		a = a[1:]
		if k := len(out); k > 0 && r.First-1 <= out[k-1].Last {
			out[k-1].Last = max(out[k-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// without returns the parts of r that are in none of rs, in rising order.
func without(r Range, rs []Range) iter.Seq[Range] {
	return func(yield func(Range) bool) {
		next := r.First
		for i := seek(rs, r.First); i < len(rs) && rs[i].First <= r.Last; i++ {
			if rs[i].First > next && !yield(Range{next, rs[i].First - 1}) {
				return
			}
			if rs[i].Last >= r.Last {
				return
			}
			next = rs[i].Last + 1
		}
		yield(Range{next, r.Last})
	}
}

// disjoint reports whether no number is in both a and b.
func disjoint(a, b []Range) bool {
	for len(a) > 0 && len(b) > 0 {
		if b[0].First < a[0].First {
			a, b = b, a
		}
		if a[0].Last >= b[0].First {
			return false
		}
		a = a[1:]
	}
	return true
}
