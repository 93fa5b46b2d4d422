package rollcall

import "time"

// AsideState is the state of a row set aside.
type AsideState string

// The states. Rows done or discarded keep no body; they stay for the window so
// that a redelivery of the same message finds them.
const (
	AsideWaiting   AsideState = "waiting"   // retry later, or behind an earlier one of its Key
	AsideDead      AsideState = "dead"      // given up; redrive or discard it
	AsideParked    AsideState = "parked"    // in doubt: nobody knows whether it took effect
	AsideAttempt   AsideState = "attempt"   // written before a suspect message runs; not due, holds nobody back
	AsideDone      AsideState = "done"      // took effect, or was handled as repeated, stale or filtered
	AsideDiscarded AsideState = "discarded" // given up by an operator or by age, or replaced by Edit
)

// Aside is a message set aside in the store, with its bytes.
type Aside struct {
	ID       int64 // row number: earlier rows of a Key go first
	Identity Identity
	State    AsideState
	Cause    string // why, for people
	Attempts int    // data errors and deaths in mid-message
	// Early: it waits for an earlier version or state. It holds nobody back and
	// spends no attempt.
	Early bool
	// OwnsKey: DedupKey was inserted for this message and is held by this row.
	OwnsKey  bool
	DedupKey DedupKey // zero: none
	Created  time.Time
	Updated  time.Time
	Due      time.Time // when waiting
	Position Position  // where it was read, if known
	Message  Message
}

// AsideChange is what Turn writes. State, Attempts, Cause, Early, OwnsKey, Due
// and Updated are always written; a state of done or discarded drops the body
// and the headers.
type AsideChange struct {
	State    AsideState
	Cause    string
	Attempts int
	Early    bool
	OwnsKey  bool
	Due      time.Time
	Updated  time.Time
}
