package protocol

import (
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// Config is what the decisions depend on beside the state.
type Config struct {
	// Attempts is how often a message is tried before it is dead.
	Attempts int
	// Chunk is how many messages share a savepoint once a handler has failed.
	Chunk int
	// Traces: a handler that says Early or Repeated may have written before.
	Traces bool
	// Hands is how many transactions of one part run side by side.
	Hands int
	// LockFirst: the rolls are locked before the effects, not after them. The
	// lock is then held while handlers run, and a hit costs nothing: no effect is
	// there yet. It is for partitions with one owner, whose rolls nobody else
	// asks for. Who shares rolls must lock in one and the same order.
	LockFirst bool
}

// Work is one transaction on its way, from BEGIN to durable: the state.
type Work struct {
	Kind   Kind
	Config Config
	Items  []Item
	// Covered are offsets that the broker never delivers, as numbers of
	// CoveredRoll; they enter the roll with this work.
	Covered     []Cover
	CoveredRoll int
	Void, Lost  uint64 // how many of Covered are new in the roll
	Row         Row    // OfRow, OfRowAttempt, OfAlone: the row that it is about

	At      int  // how many steps of its order are asked for
	Parted  bool // some were taken apart: what fails now is found carefully
	Careful bool // savepoints: a handler failed when they ran without
	Singly  bool // one by one: a failure took the transaction with it
	Doubted bool // a COMMIT of it had no answer
	Hits    int  // messages that another worker was faster with
	Effects effects

	Claims []KeyClaim // asked for in step 3
	Wake   []string   // Keys with rows that came too early

	Locked  []int           // rolls that this transaction has locked, sorted
	Sets    []*interval.Set // as the locking read returned them, then merged
	Changed []bool

	Fresh []int         // suspects without an attempt so far
	Alone map[int]Found // OfSuspects: those that had one, by Item.Index
}

// Cover is a range of offsets that the broker never delivers.
type Cover struct {
	interval.Range
	Lost bool // removed before they were done
}

// Row is a row set aside as far as the protocol knows it.
type Row struct {
	ID       int64
	Attempts int
	Early    bool
	OwnsKey  bool
	Cause    string
	// Late: it has waited for an earlier version or state as long as it may;
	// this is the beginning of the cause it dies of.
	Late string
}

// State is the state of a row set aside.
type State uint8

// The states; see rollcall.AsideState.
const (
	RowWaiting State = iota + 1
	RowDead
	RowParked
	RowAttempt
	RowDone
	RowDiscarded
)

// Action is one thing to do, and with what.
type Action struct {
	Do   Step
	Wait bool // Again: pause first, it was the environment's fault or is in doubt
	Hits int  // Again: because of so many messages that another worker was faster with

	Claims []KeyClaim // Keys
	Keys   []string   // Queues: to read
	Items  []int      // Effects: whom to run; Known: whose rows
	// Savepoint is taken before: the next Undo goes back to it.
	Savepoint bool
	Rolls     []int // Rolls: to lock; Write: those of Work.Locked that changed
	Put       []Put // Asides, Attempts: rows to insert
	Drop      []int // Asides: items whose attempt rows are to go
	Wake      []string
	Turn      Change // Claim, Turn
	Undo      bool   // Turn: first back to the savepoint of Claim
}

// Nothing reports whether the step has nothing to ask the store for.
func (a *Action) Nothing() bool {
	return len(a.Claims)+len(a.Keys)+len(a.Items)+len(a.Rolls)+len(a.Put)+len(a.Drop)+len(a.Wake) == 0
}

// KeyClaim is a DedupKey to insert for an item.
type KeyClaim struct {
	Key  ID
	Item int
}

// Put is a row to insert for an item.
type Put struct {
	Item     int
	State    State
	Attempts int
	Early    bool
	Now      bool // what it waits for may have come: due at once
	OwnsKey  bool
}

// Change is a compare-and-set of a row's state.
type Change struct {
	Row      int64
	From, To State
	Attempts int
	Early    bool
	OwnsKey  bool
	Cause    string
	// Fate and Again say how long it waits.
	Fate  Fate
	Again Delay
}

// EventKind is how an action ended.
type EventKind uint8

// The kinds of events. None of them is guessed: InDoubt may have happened.
const (
	OK       EventKind = iota
	Failed             // the environment's fault
	Conflict           // a deadlock or serialization failure between transactions
	InDoubt            // no answer to COMMIT
	Fenced             // another owner holds the token
	Outdated           // an answer that was taken for granted is not so: ask
)

// Event is the answer to an action.
type Event struct {
	Kind     EventKind
	Keys     []KeyAnswer      // Keys, in order
	Queues   map[string]Queue // Queues
	Outcomes []Outcome        // Effects, in order
	// Broken: a handler left the transaction unusable, or the batch as a whole
	// failed; Undo: the savepoint went with the transaction.
	Broken bool
	Sets   []*interval.Set // Rolls, in order
	Rows   []Found         // Known, in order
	Turned bool            // Claim, Turn: the row was in the state
}

// Found is the row of a message, if there is one.
type Found struct {
	ID       int64 // 0: none
	State    State
	Attempts int
	Cause    string
}

// KeyAnswer says who has a key.
type KeyAnswer struct {
	Fresh bool // we inserted it
	Own   bool // its owner is this very message
	Held  bool // a dead or parked row owns it
}

// Queue is what waits for a Key.
type Queue struct {
	First int64 // lowest id of the rows waiting in order, 0 if none
	Early bool
}

// OutcomeKind is what a handler said.
type OutcomeKind uint8

// The outcomes; see the values of the root package.
const (
	TookEffect OutcomeKind = iota
	SaysStale
	SaysFiltered
	SaysRepeated
	SaysEarly
	SaysDead
	Fails
)

// Outcome is what became of one call of the handler.
type Outcome struct {
	Kind  OutcomeKind
	Cause string
	Again Delay
}

// waits: the message failed, so the later ones of its Key must not have run.
func (o Outcome) waits() bool { return o.Kind == Fails || o.Kind == SaysDead }
