package protocol

import (
	"time"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// Fate is what the protocol decided about one message of a batch.
type Fate uint8

// The fates. Run is the only one that is not final for its transaction.
const (
	Run      Fate = iota // New: the handler decides
	Dropped              // Known, or the same message earlier in the batch: no effect
	Repeated             // another message with this DedupKey took effect, or will
	Unknown              // nobody knows: parked, its number never enters a roll
	Behind               // an earlier message of its Key waits
	Dead                 // cannot be run: set aside dead
	Applied              // the handler's effect is in the transaction
	Stale                // handled on purpose
	Filtered             // handled on purpose
	Early                // an earlier version or state must come first
	Waiting              // failed, to be tried again
)

// ID is a DedupKey or the identity of a message: bytes that are only compared.
type ID [16]byte

// Mark is one number of a message in one roll.
type Mark struct {
	Roll   int // index into the batch's table of rolls, which is sorted
	Number uint64
	// Decides: a Known number means "done". Else the roll is only the place
	// to resume from.
	Decides bool
	Place   bool // the roll counts positions of a partition, not a sender's numbers
	// Known: the roll held the number when it was last read, so it needs no lock.
	Known bool
}

// Item is one message on its way through the protocol.
type Item struct {
	Index    int // place in its batch
	Marks    [2]Mark
	NMarks   int
	HasDedup bool
	Dedup    ID
	Identity ID     // filled where HasDedup: it is the owner of the key
	Key      string // order scope; empty has none
	// Positioned: it has a place in a replayable partition. Redelivered: the
	// broker says that it handed it over before.
	Positioned, Redelivered bool

	// Planned is what holds before the transaction: the fate from step 1, or
	// what a hit taught. Fate is what this transaction made of it.
	Planned, Fate Fate
	Cause         string // why it is set aside
	Attempts      int    // attempts spent so far
	Suspect       bool   // an attempt row was written for it
	Again         Delay
	Apart         bool // it failed when it ran with the others: now it runs after them, by itself
	Beside        bool // a dead or parked row owns its key: its own row does not
	Copied        bool // its position was new though the message was not
	Counted       bool // all its numbers were in their rolls before
	Original      int  // Index of the same message earlier in the batch, or -1
	Hand          int
}

// Delay is a wait that a handler asked for.
type Delay struct {
	Set   bool
	After time.Duration
}

// AddMark adds a number. A message has two at most: its sender's and its place.
func (it *Item) AddMark(m Mark) {
	it.Marks[it.NMarks] = m
	it.NMarks++
}

// Decided reports whether a roll decides about the message.
func (it *Item) Decided() bool {
	for _, m := range it.Marks[:it.NMarks] {
		if m.Decides {
			return true
		}
	}
	return false
}

// Kill plans the message dead.
func (it *Item) Kill(cause string) { it.Planned, it.Cause = Dead, cause }

// Spent is how many attempts the message has had after this transaction.
func (it *Item) Spent() int {
	if it.Fate == Waiting || it.Fate == Dead {
		return it.Attempts + 1
	}
	return it.Attempts
}

// Aside is the state of the row in which a message of this fate is set aside.
func (f Fate) Aside() (State, bool) {
	switch f {
	case Unknown:
		return RowParked, true
	case Dead:
		return RowDead, true
	case Behind, Early, Waiting:
		return RowWaiting, true
	}
	return 0, false
}

// answer is what a table of rolls says of a mark; a roll that is not there is
// empty.
func answer(rolls []*interval.Set, m Mark) interval.Answer {
	if r := rolls[m.Roll]; r != nil {
		return r.Answer(m.Number)
	}
	return interval.New
}

// reset puts the items back to what was planned: a transaction starts anew.
func reset(items []Item) {
	for i := range items {
		it := &items[i]
		it.Fate = it.Planned
		it.Copied, it.Counted, it.Beside = false, false, false
		it.Again = Delay{}
		if it.Planned == Run {
			it.Cause = ""
		}
	}
}

// The causes for people.
const (
	CauseUnknown = "in doubt: the roll that held its number outgrew its size; redrive it if it has not taken effect, else discard it"
	CauseKeyHeld = "key held: an earlier message with this key is dead or parked; discard that one and redrive this, or redrive that one"
	CauseBehind  = "behind an earlier message of its key"
)
