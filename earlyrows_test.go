package rollcall

import (
	"testing"
	"time"
)

// TestEarlyRows: RunUntilEmpty does not end beside a row whose attempt is under
// way, and does end beside one that was tried again and only waits.
func TestEarlyRows(t *testing.T) {
	at := time.Unix(0, 0)
	row := func(id int64, attempts, second int) Aside {
		return Aside{ID: id, Attempts: attempts, Updated: at.Add(time.Duration(second) * time.Second)}
	}
	rows := make(earlyRows)
	for i, step := range []struct {
		row  Aside
		want bool
	}{
		{row(1, 0, 0), false}, // waits, never tried since
		{row(1, 1, 1), true},  // its attempt is written
		{row(1, 0, 2), false}, // it came too early again: that spends none
		{row(2, 1, 0), true},  // in work, or left by a worker that ended
		{row(2, 1, 0), true},
		{row(2, 2, 1), true},  // tried again
		{row(2, 1, 2), false}, // too early; it had died once before
	} {
		if got := rows.inWork(step.row); got != step.want {
			t.Errorf("step %d: in work %v, want %v", i, got, step.want)
		}
	}
	ended := false
	for second := range 2 * died { // its worker died: it waits with one attempt more, for ever
		ended = !rows.inWork(row(1, 1, 100+second))
	}
	if !ended {
		t.Error("a row whose worker has died is taken for one in work for ever")
	}
}
