// Package model explores the commit protocol exhaustively: the decisions of
// internal/protocol, the very ones that the engine runs, on a model of broker,
// store and two workers, through every interleaving and every choice of
// faults. It also holds the matrix of what our strategies and the textbook
// patterns (Patterns) can lose or double, which demo and the crash campaign
// are held against.
//
// The world is small and its rules are the servers': READ COMMITTED, row
// locks held to the end of the transaction, inserts that wait for an
// uncommitted insert of the same key, a broker that hands over again what was
// not settled, a connection that dies with a transaction still open behind it.
package model

// Shape is what a worker is given.
type Shape uint8

// The shapes of partitions.
const (
	Replayable Shape = iota // exclusive, with positions: Kafka, the embedded log (X)
	Exclusive               // one consumer at a time, no positions: single active consumer (XQ)
	Shared                  // competing consumers: a queue (S)
)

// String is the short name of protocol-cases.
func (s Shape) String() string { return [...]string{"X", "XQ", "S"}[s] }

// Message is one piece of what is sent.
type Message struct {
	Sender int    // which sender's roll it is numbered in: 0 or 1
	Key    string // order scope
	Dedup  int    // its DedupKey: messages with the same number are the same business. 0: none
	Fails  int    // how many runs of its handler may fail
	Poison bool   // its handler always fails
	Kills  int    // how many runs kill the worker
	After  int    // its handler says Early until message number After took effect. 0: never
	Lost   bool   // its number is Unknown in the sender's roll from the beginning
}

// Entry is one stored copy of a message. Copies have the same stamp.
type Entry struct {
	Message int  // index into Messages
	Late    bool // it is stored some time later
	Hole    bool // an offset that the broker never delivers
}

// Scenario is what is explored.
type Scenario struct {
	Name     string
	Shape    Shape
	Messages []Message
	Entries  []Entry
	// What decides: the sender's numbers, the positions, the keys.
	Stamp, Position, Keyed bool

	Batch     int  // messages of one transaction
	Attempts  int  // tries before a message is dead
	Hands     int  // transactions of one partition side by side
	LockFirst bool // rolls are locked before the effects
	Faults    int  // how many of Allow
	Allow     Fault
	Redrives  int // how often an operator redrives
	Discards  int
	Sweeps    int
	// NoSuspects: nobody dies, so nothing is suspect.
	NoSuspects bool
	// Business: messages of one DedupKey are one piece of business even where
	// keys are not looked at.
	Business bool
	// Without is a rule of the world, or of the worker's life around the
	// protocol, that is taken away (see guards_test.go).
	Without string
}

// Fault is a set of kinds of faults.
type Fault uint16

// The faults.
const (
	Crash     Fault = 1 << iota // SIGKILL of a worker; its open transaction stays behind for a while
	ReplyLost                   // COMMIT has no answer: it happened, or it will, or it will not
	Cut                         // the connection is lost between two statements
	Timeout                     // the broker gives a working owner's work to another: pause, network
	Freeze                      // the worker is stopped, and may wake
	Rebalance                   // a clean one: drained and released
	SettleLost
	UndoLost // a failing handler takes the whole transaction with it
)

// AllFaults are all of them.
const AllFaults = Crash | ReplyLost | Cut | Timeout | Freeze | Rebalance | SettleLost | UndoLost
