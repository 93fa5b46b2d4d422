package rollcall

import "time"

// earlyRows is what RunUntilEmpty has seen of rows that came too early. One that
// is in work has its attempt written, and is due later in case its worker ends:
// it looks like one that can only wait, and yet it may take effect and make
// others due.
type earlyRows map[int64]*earlyRow

type earlyRow struct {
	least   int       // attempts that it has when it is not in work
	sure    bool      // it is known to wait with so many
	updated time.Time // when it was last seen to change
	above   int       // changes in a row after which it had more
}

// died is how many times in a row a row is seen to change and to have more
// attempts than before until that counts as: its worker ended, they stay. One in
// work is so for a moment between two waits.
const died = 20

// inWork reports whether the row has, or may have, an attempt under way. A row
// that already had attempts when it was first seen may, until it has changed.
func (s earlyRows) inWork(a Aside) bool {
	seen := s[a.ID]
	if seen == nil {
		s[a.ID] = &earlyRow{least: a.Attempts, sure: a.Attempts == 0, updated: a.Updated}
		return a.Attempts > 0
	}
	changed := !a.Updated.Equal(seen.updated)
	seen.updated = a.Updated
	if a.Attempts <= seen.least {
		seen.sure = seen.sure || changed
		seen.least, seen.above = a.Attempts, 0
		return !seen.sure
	}
	if changed {
		seen.above++
	}
	if seen.above >= died {
		seen.least, seen.sure, seen.above = a.Attempts, true, 0
	}
	return a.Attempts > seen.least
}
