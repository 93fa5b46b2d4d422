package rollcall

import (
	"context"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/internal/interval"
	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// TestOnlyWaits: RunUntilEmpty ends beside a row only if it was tried as a row,
// came too early again, and no attempt is under way, which could take effect and
// make others due.
func TestOnlyWaits(t *testing.T) {
	now := time.Now()
	e := &engine[any]{Consumer: NewConsumer[any]("g", nil, nil, nil, ConsumerConfig{})}
	waits := Aside{ID: 1, State: AsideWaiting, Early: true, Cause: Early.Error(), Created: now.Add(-time.Second),
		Updated: now.Add(-time.Millisecond), Due: now.Add(time.Second)}
	if !e.onlyWaits(waits, now) {
		t.Fatal("a row that was tried and only waits")
	}
	work := protocol.RowWork(e.rules(), rowItem(&waits), e.rowState(&waits))
	inWork := waits
	inWork.Cause = attemptOf(t, work).Cause
	for name, row := range map[string]Aside{
		"not tried as a row": {Early: true, Created: now, Updated: now, Due: now.Add(time.Second)},
		"an attempt":         inWork,
		"due":                {Early: true, Created: waits.Created, Updated: waits.Updated, Due: now},
		"failed, not early":  {Created: waits.Created, Updated: waits.Updated, Due: waits.Due},
		"out of time":        {Early: true, Created: now.Add(-e.config.Retry.Early - 1), Updated: waits.Updated, Due: waits.Due},
	} {
		if e.onlyWaits(row, now) {
			t.Error(name, "is taken for one that only waits")
		}
	}
}

// attemptOf answers as a store does until the row's attempt is to be written.
func attemptOf(t *testing.T, w protocol.Work) protocol.Change {
	t.Helper()
	var event protocol.Event
	for range 10 {
		next, a := w.Next(event)
		if a.Do == protocol.Turn {
			return a.Turn
		}
		w, event = next, protocol.Event{}
		if a.Do == protocol.Known {
			event.Rows = []protocol.Found{{ID: w.Row.ID, State: protocol.RowWaiting, Attempts: w.Row.Attempts}}
		}
	}
	t.Fatal("no attempt is written")
	return protocol.Change{}
}

// rollStore has one roll and no rows aside.
type rollStore struct {
	Store[any]
	done interval.Range
}

func (s rollStore) Rolls(_ context.Context, _ string, scopes []Scope) ([]RollRow, error) {
	r := Roll{Scope: scopes[0]}
	r.set.AddRange(s.done.First, s.done.Last)
	row, err := r.Row()
	return []RollRow{row}, err
}

func (s rollStore) Asides() Asides { return s }

func (rollStore) Due(context.Context, string, time.Time, int) ([]Aside, error) { return nil, nil }

func (rollStore) List(context.Context, string, AsideFilter) ([]Aside, error) { return nil, nil }

// TestFinished: every position of what was measured is in the roll, the first and
// the last as well.
func TestFinished(t *testing.T) {
	extents := []Extent{{Partition: Partition{"d", 0}, Incarnation: Incarnation{1}, First: 2, End: 6}} // numbers 3 to 6
	for done, want := range map[interval.Range]bool{{First: 3, Last: 6}: true, {First: 1, Last: 9}: true, {First: 4, Last: 6}: false,
		{First: 3, Last: 5}: false, {First: 6, Last: 6}: false} {
		e := &engine[any]{Consumer: NewConsumer[any]("g", nil, rollStore{done: done}, nil, ConsumerConfig{})}
		if got, err := e.finished(t.Context(), extents); got != want || err != nil {
			t.Errorf("%v done: finished %v %v, want %v", done, got, err, want)
		}
	}
}
