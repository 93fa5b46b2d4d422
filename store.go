package rollcall

import (
	"context"
	"time"
)

// Token is the right to commit. The store issues it and only ever raises it;
// an older one is refused inside the effect's transaction.
type Token uint64

// Holder is who a token belongs to: an exclusive partition, or one worker.
type Holder struct {
	Partition Partition // of an exclusive partition; zero for a worker's own
	Worker    string    // name of the worker; empty for a partition's
}

// Hold is a token in use.
type Hold struct {
	Group  string
	Holder Holder
	Token  Token
}

// Acquired is the answer to Acquire.
type Acquired struct {
	Token Token
	// Clean: the previous owner released it, or there was none. Otherwise
	// messages may have been in work when it ended: they are suspect.
	Clean bool
}

// Class is what kind of failure an error is: it decides whose fault it is.
type Class uint8

// The classes of an error that a store or a handler returned.
const (
	// ClassData is the message's fault: an attempt is spent, then it goes aside.
	ClassData Class = iota
	// ClassEnvironment is nobody's fault: disk full, connection lost, read
	// only. The engine pauses and redoes, and no attempt is spent.
	ClassEnvironment
	// ClassConflict is a deadlock or a serialization failure between
	// transactions: redo at once, in smaller batches. No attempt is spent.
	ClassConflict
)

// Store is where "done" is recorded, beside the effect. X is the type of the
// transaction that a handler gets. Every call is batched: N items in one turn.
// A store is safe for concurrent use and demands READ COMMITTED or stricter.
type Store[X any] interface {
	// Acquire raises the token of each holder by one, in a transaction of its
	// own, and returns the new ones in order. It waits for a transaction of the
	// previous owner, which the server bounds by its own deadlines. It must not
	// be called on the goroutine that has to finish that transaction.
	Acquire(ctx context.Context, group string, holders []Holder) ([]Acquired, error)
	// Release marks tokens as cleanly given back. An older token than the
	// current is ignored.
	Release(ctx context.Context, holds []Hold) error
	// Rolls reads rolls without locks. A scope without a roll yields nil Data.
	Rolls(ctx context.Context, group string, scopes []Scope) ([]RollRow, error)
	// Begin starts a transaction whose first statement will be Fence.
	Begin(ctx context.Context) (Tx[X], error)
	// Classify says whose fault an error is, the errors of handlers included.
	Classify(err error) Class
	// Asides reads the messages set aside.
	Asides() Asides
	// Upkeep is the sign of life, the sweeper and the tally.
	Upkeep() Upkeep
	// Outbox is the send-side table.
	Outbox() Outbox[X]
}

// Tx is one transaction: the effect, and the record that it is done. A
// transaction is used by one goroutine at a time.
type Tx[X any] interface {
	// User is the very transaction, for the handler.
	User() X
	// Fence share-locks the row of the token until the end of the transaction
	// and compares: ErrFenced if it is another. It reads, it never counts rows
	// affected. The answer may come with the next statement instead, the user's
	// included; then the transaction is not Usable, and COMMIT is never sent.
	Fence(ctx context.Context, hold Hold) error
	// Records are keys, rolls and counters.
	Records() TxRecords
	// Asides are the rows set aside.
	Asides() TxAsides
	// Usable reports, without asking the server, whether the transaction can
	// still be committed: nil, or what ended it. A handler may have ignored the
	// error of a statement that took the transaction with it.
	Usable() error
	// Savepoint returns a function that undoes all that the user and the
	// engine did since. Undoing twice or after a later undo is an error.
	Savepoint(ctx context.Context) (undo func(context.Context) error, err error)
	// Commit makes it durable. ErrInDoubt (errors.Is) when there is no answer:
	// it may have happened. Any other error: it surely has not.
	Commit(ctx context.Context) error
	// Rollback undoes everything. After Commit it does nothing.
	Rollback() error
}

// Checker is a transaction that can look, after handlers ran, whether COMMIT
// would fail because of what they did (deferred constraints). An error leaves it
// not Usable, until it is undone.
type Checker interface {
	Check(ctx context.Context) error
}

// Assumer is a Tx that may be told what the engine believes, instead of being
// asked: what it takes to find out then travels with the next statement, and the
// effects need not wait for it. ErrOutdated is also what ends a transaction when
// finding out failed: it is never blamed on the handler with whose statement it
// travelled.
type Assumer interface {
	// Assume locks the rolls as TxRecords.Lock does, in the order given, and finds
	// out whether they still are as given, and whether no row waits for any of the
	// Keys, as TxAsides.Queues would. If not, this call or the next statement, the
	// user's included, fails with ErrOutdated, and the transaction is not Usable.
	// COMMIT is never sent before that is known.
	Assume(ctx context.Context, group string, keys []string, rolls []RollRow) error
	// Confirm finds out now what was assumed, and whose the token is, so that no
	// statement of a handler travels with it.
	Confirm(ctx context.Context) error
}

// Gatherer is a Tx that lets the statements of several handlers travel together:
// over a network that saves a turn for each. It is a power that a store may
// have; without it gathered handlers share User, which must then be safe for
// that.
type Gatherer[X any] interface {
	// Gather begins a gathering of so many lanes. What it returns gives each lane
	// its transaction, and what the lane calls when its handlers are done. A
	// statement waits until every lane waits or is done. When one fails, those that
	// travelled behind it were not run, and fail or travel again.
	Gather(ctx context.Context, lanes int) (lane func() (tx X, done func()))
}

// TxRecords are the records of one transaction.
type TxRecords interface {
	// Claim inserts keys, which are distinct and sorted, and answers for each,
	// in order. It waits for a concurrent claim of the same key to end.
	Claim(ctx context.Context, group string, claims []KeyClaim) ([]KeyAnswer, error)
	// Free deletes keys.
	Free(ctx context.Context, group string, keys []DedupKey) error
	// Lock creates the rows that are missing, locks all in the order given
	// (the engine sorts) and returns what the locking read returned.
	Lock(ctx context.Context, group string, scopes []Scope) ([]RollRow, error)
	// Write replaces the data of rolls that this transaction has locked.
	Write(ctx context.Context, group string, rolls []RollRow) error
	// Count adds to the durable counters of a destination. slot spreads the
	// rows so that workers do not meet: a partition's number, or a worker's hash.
	Count(ctx context.Context, group, destination string, slot int32, add Counts) error
	// Note appends to the operator log of the group.
	Note(ctx context.Context, group string, entries []OperatorEntry) error
}

// KeyClaim is one DedupKey to insert with the identity of the message.
type KeyClaim struct {
	Key   DedupKey
	Owner Identity
}

// KeyAnswer says who has a key.
type KeyAnswer struct {
	// Fresh: we inserted it. Else Owner is who did.
	Fresh bool
	Owner Identity
	// Held: an aside row that is dead or parked owns the key.
	Held bool
}

// RollRow is a serialised Roll.
type RollRow struct {
	Scope Scope
	Data  []byte // nil: there is none yet
}

// Asides reads the rows set aside, outside of a transaction.
type Asides interface {
	// Due returns rows of the group that are waiting and due, or whose time of
	// writing lies after now (the clock was set back), each the first waiting
	// row of its Key, oldest first.
	Due(ctx context.Context, group string, now time.Time, max int) ([]Aside, error)
	// List returns rows by id, from filter.After on.
	List(ctx context.Context, group string, filter AsideFilter) ([]Aside, error)
}

// AsideFilter chooses rows of List.
type AsideFilter struct {
	IDs         []int64      // only these. Default: all
	States      []AsideState // only these. Default: waiting, dead and parked
	Destination string       // only of this one. Default: all
	Key         string       // only of this Key. Default: all
	After       int64        // only rows with a higher id. Default: from the first
	Max         int          // most rows. Default: 100
}

// TxAsides changes the rows set aside, within a transaction.
type TxAsides interface {
	// Queues reads which of the Keys have rows waiting.
	Queues(ctx context.Context, group string, keys []string) (map[string]Queue, error)
	// Put inserts rows. A row of that identity that is an attempt is replaced;
	// any other is left as it is and the new one dropped: rows are unique by
	// identity. It returns how many were inserted or replaced.
	Put(ctx context.Context, group string, rows []Aside) (int, error)
	// Turn changes a row if its state is one of from (compare and set), and
	// reports whether it did. Which fields change: see AsideChange.
	Turn(ctx context.Context, group string, id int64, from []AsideState, to AsideChange) (bool, error)
	// Wake makes the early rows of the Keys due at a time.
	Wake(ctx context.Context, group string, keys []string, due time.Time) error
	// Known reads, and locks, the rows of these identities in whatever state.
	Known(ctx context.Context, group string, ids []Identity) (map[Identity]Aside, error)
	// DropAttempts deletes the rows of these identities that are attempts.
	DropAttempts(ctx context.Context, group string, ids []Identity) error
}

// Queue is what waits for a Key.
type Queue struct {
	First int64 // lowest id of the rows waiting in order, 0 if none
	Early bool  // rows wait because they came too early; they hold nobody back
}

// Upkeep is what a store needs beside batches, and what the audit reads of it.
type Upkeep interface {
	// Beat writes the sign of life of holders by the store's own clock.
	Beat(ctx context.Context, holds []Hold) error
	// Sweep removes what is older than the window and returns how much: first
	// it raises the tokens of holders silent for half the window, then removes
	// keys, rolls of senders and finished aside rows, never those of a message
	// that is waiting, dead or parked. Results of Once of that scope go with the
	// window too, Claims when their own lease and window are over.
	Sweep(ctx context.Context, group string, window time.Duration) (Swept, error)
	// Tally sums the durable counters and the states of the rows set aside.
	Tally(ctx context.Context, group string) ([]Tally, error)
	// Scan reads, without locks, the rolls of the group behind a scope, in the order
	// of Scope.Compare, at most max. The zero Scope is before all.
	Scan(ctx context.Context, group string, after Scope, max int) ([]RollRow, error)
	// Entries reads the operator log of the group, from the first entry with a
	// higher id on, at most max.
	Entries(ctx context.Context, group string, after int64, max int) ([]OperatorEntry, error)
}

// Swept is what a Sweep removed.
type Swept struct {
	Keys, Rolls, Asides int
	Results, Claims     int
	Fenced              int // tokens raised because their holder was silent
}

// Tally is the books of one (group, destination).
type Tally struct {
	Destination           string
	Counts                Counts
	Waiting, Dead, Parked int64
}

// Outbox is the send-side table: rows are written in the caller's transaction
// and sent by a Relay.
type Outbox[X any] interface {
	// Enqueue writes messages in the user's transaction, in order.
	Enqueue(ctx context.Context, tx X, messages []Message) error
	// Pending returns the oldest rows, in the order of their ids, whatever was
	// committed in between: never "greater than the last one seen". Rows that
	// are refused or parked are not among them. A row that is damaged is no error:
	// it has its Damage.
	Pending(ctx context.Context, max int) ([]OutboxRow, error)
	// Stamp writes stamps, partitions and ids into rows under the relay's
	// token (ErrFenced), before the first send.
	Stamp(ctx context.Context, hold Hold, rows []OutboxRow) error
	// Remove deletes rows that are Stored, under the relay's token. Rows with a
	// Refusal are kept with it and not returned by Pending any more.
	Remove(ctx context.Context, hold Hold, rows []OutboxRow) error
}

// Unpicked is the Partition of a message that is enqueued with the stamp of another
// sender, which a bridge keeps: whoever reads it at both ends sees one message. The Relay
// picks the partition when it sends.
const Unpicked int32 = -1

// OutboxRow is a message waiting to be sent, or kept because it was not.
type OutboxRow struct {
	ID      int64
	Message Message // Stamp is zero until the Relay has written it, or another's: see Unpicked
	Refusal string  // why the broker surely did not take it
	// Attempt is the token of the relay that began to send it, and Doubt why
	// nobody knows what became of that. Both only where a message must not be
	// sent twice: see Attempts. Default: 0 and empty.
	Attempt Token
	Doubt   string
	// Damage is why the row cannot be read; Message is what could be. It is never
	// sent: the Relay keeps it with a Refusal, and goes on with the rows behind it.
	// Default: empty.
	Damage string
}

// Attempts is an optional power of an Outbox, found by type assertion: it
// remembers that a message is being sent. A Relay needs it for a destination
// that does not absorb a second copy (Unrepeatable): what may have been sent is
// then never sent again by itself, it is parked, and an operator decides.
type Attempts interface {
	// Open notes, under the relay's token (ErrFenced), that the rows are about
	// to be sent: durable when it returns. It sets their Attempt to the token.
	// A row that is gone, open, refused or parked is an error, and nothing is
	// written then.
	Open(ctx context.Context, hold Hold, rows []OutboxRow) error
	// Settle writes what became of an attempt: Stored deletes the row, Refused
	// keeps it with its Refusal, Unknown with a Doubt parks it, Unknown without
	// one (surely not sent) lets it wait again. It is the attempt's own word and
	// needs no hold: it finds the row by ID and Attempt, also when a relay that
	// took over has parked it since. False: an operator was faster, or another
	// attempt began; nothing was written.
	Settle(ctx context.Context, row OutboxRow, fate Fate) (bool, error)
	// Kept returns rows that are refused or parked, by id, with ids above after.
	Kept(ctx context.Context, after int64, max int) ([]OutboxRow, error)
	// Redrive lets rows that are refused or parked be sent again, and Discard
	// deletes them. Both return how many; other ids are passed over, so that
	// doing it twice is harmless.
	Redrive(ctx context.Context, ids []int64) (int, error)
	Discard(ctx context.Context, ids []int64) (int, error)
}
