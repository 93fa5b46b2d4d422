package model

import (
	"github.com/rollcall-mq/rollcall/internal/protocol"
)

const (
	senders   = 2
	placeRoll = senders // the roll over positions
	rolls     = senders + 1
	workers   = 2
	// partition is the holder of the partition's token; a worker's own is its
	// number plus one.
	partition = 0
)

// roll is a set of numbers up to 15 as bits.
type roll struct {
	exists         bool
	known, unknown uint16
}

// row is a row set aside.
type row struct {
	id       int8
	message  int8 // its identity
	state    protocol.State
	attempts int8
	early    bool
	due      bool
	ownsKey  bool
	redriven bool
}

// entry is a stored copy as the broker of a queue sees it.
type entry struct {
	holder      int8 // worker that holds it, -1 if it is ready
	settled     bool
	redelivered bool
}

// txn is a transaction at the server.
type txn struct {
	open    bool
	dead    bool // the server has ended it; the client does not know yet
	holder  int8 // whose token is share-locked, -1: none
	keys    map[int8]int8
	locked  [rolls]bool
	rolls   [rolls]roll
	rows    []row // changed or inserted, by id; state 0: deleted
	effects []int8
	claim   *txn // savepoints
	last    *txn
}

// thread is one transaction on its way in a worker.
type thread struct {
	on    bool
	work  protocol.Work
	act   protocol.Action
	taken int // keys or rolls of act that are locked already
	heard []protocol.KeyAnswer
	held  []int // items whose key a dead or parked row owns
	tx    txn
	token int8
	lost  bool
}

// orphan is a transaction without a client.
type orphan struct {
	tx     txn
	commit bool // COMMIT was sent
}

// worker is one process.
type worker struct {
	frozen   bool
	owns     bool // it believes so
	assigned bool // it is to acquire the partition
	revoking bool
	token    int8 // of the partition, as acquired
	own      int8 // its own token
	stale    bool // its own token is to be acquired again
	next     int8 // next offset
	budget   int8
	cached   [rolls]bool
	cache    [rolls]roll

	batch   *protocol.Batch
	entries []int8 // of the batch's items
	fetched int8   // token of the fetch
	session int8   // broker's session of the fetch
	settle  bool   // everything is durable, settle is next
	hands   []thread
	aside   thread
}

// world is one state.
type world struct {
	s *Scenario

	sent    int8
	entries []entry
	owner   int8 // of an exclusive partition, -1: nobody
	session [workers]int8

	tokens    [1 + workers]int8
	clean     bool // the partition's token was released
	rolls     [rolls]roll
	keys      map[int8]int8 // DedupKey → identity of its owner
	rows      []row
	nextRow   int8
	effects   []int8 // by message
	excused   []bool // it was redriven or early: order is not promised
	discarded []bool
	orphans   []orphan
	workers   [workers]worker

	faults, redrives, discards, sweeps int8
	fails, kills                       []int8 // left, by message
	deaths                             int8
	bad                                string // what is wrong in this state
	witness                            uint32
}

// newWorld is the beginning: nobody owns anything, the first entries are there.
func newWorld(s *Scenario) *world {
	w := &world{s: s, owner: -1, clean: true, keys: map[int8]int8{}, nextRow: 1, faults: int8(s.Faults), redrives: int8(s.Redrives),
		discards: int8(s.Discards), sweeps: int8(s.Sweeps), effects: make([]int8, len(s.Messages)), excused: make([]bool, len(s.Messages)),
		discarded: make([]bool, len(s.Messages)), entries: make([]entry, len(s.Entries))}
	for i := range w.entries {
		w.entries[i].holder = -1
	}
	for _, e := range s.Entries {
		if !e.Late {
			w.sent++
		}
	}
	for i, m := range s.Messages {
		w.fails = append(w.fails, int8(m.Fails))
		w.kills = append(w.kills, int8(m.Kills))
		if m.Lost {
			w.rolls[m.Sender].exists = true
			w.rolls[m.Sender].unknown |= 1 << s.sequence(i)
		}
	}
	for i := range w.workers {
		w.workers[i] = newWorker(w, i)
	}
	return w
}

func newWorker(w *world, i int) worker {
	w.tokens[1+i]++
	return worker{own: w.tokens[1+i], aside: thread{tx: txn{holder: -1}}}
}

// sequence is the number of a message in its sender's roll.
func (s *Scenario) sequence(message int) int {
	n := 0
	for i, m := range s.Messages[:message+1] {
		if i <= message && m.Sender == s.Messages[message].Sender {
			n++
		}
	}
	return n
}

// business is what may take effect once: all messages of one DedupKey, where
// keys are looked at, else the message.
func (s *Scenario) business(message int) []int {
	if d := s.Messages[message].Dedup; d != 0 && (s.Keyed || s.Business) {
		var all []int
		for i, m := range s.Messages {
			if m.Dedup == d {
				all = append(all, i)
			}
		}
		return all
	}
	return []int{message}
}

// without: the rule is taken away.
func (w *world) without(rule string) bool { return w.s.Without == rule }

// sees remembers that something worth seeing has happened on the way.
func (w *world) sees(x witness) { w.witness |= 1 << x }

// witness is something that a run must be able to reach, or it shows nothing.
type witness uint8

// The witnesses.
const (
	sawDropped  witness = iota // a redelivery of an applied message
	sawFenced                  // a zombie's transaction refused
	sawHit                     // another worker was faster
	sawRepeated                // a key was taken
	sawHeld                    // by a dead or parked row
	sawGone                    // a row that another worker had decided
	sawRedone                  // a transaction in doubt had happened
	sawSwept
	sawRedriven
	sawParked
	sawAlone
	sawBehind
	sawDeadline
	witnesses
)

var witnessNames = [witnesses]string{"applied message delivered again and dropped", "zombie's transaction refused", "hit: another worker was faster",
	"key taken", "key held by a dead row", "row decided by another worker", "commit in doubt had happened", "swept", "redriven", "parked",
	"run alone", "set aside behind", "server ended a stopped worker's transaction"}
