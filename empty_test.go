package rollcall

import (
	"testing"
	"time"

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
