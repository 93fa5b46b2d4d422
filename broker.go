package rollcall

import (
	"context"
	"time"
)

// Sender is the sending half of a broker driver. It is safe for concurrent
// use. Stamping, retries and the fate that the caller sees live in Publisher.
type Sender interface {
	Capabilities() Capabilities
	// Lanes tells how the destination numbers its messages. It is needed
	// before stamping and may be cached for a while by the caller.
	// ErrNoDestination when the destination does not exist.
	Lanes(ctx context.Context, destination string) (Lanes, error)
	// Publish hands over a batch, each message with its Partition and Stamp
	// already set, and returns exactly one result a message, in order.
	// Stored means confirmed by the broker, as durable as it can. At the
	// deadline of ctx it answers Unknown for what has no answer yet, even if
	// the client may still send it later.
	Publish(ctx context.Context, destination string, messages []Message) []PublishResult
	// Close gives up the connection. What is in flight becomes Unknown.
	Close(ctx context.Context) error
}

// Lanes is how one destination numbers: by partition on Kafka and the embedded
// log, by exchange and routing key on RabbitMQ, by a logical lane on RocketMQ.
type Lanes interface {
	// Pick chooses the lane of a message before it is stamped. The same Key
	// gives the same lane as long as the number of partitions stays.
	Pick(m *Message) int32
	// Name is the lane's name for people, birth records and beacons.
	Name(lane int32) string
}

// Fate is what became of one message that was published.
type Fate uint8

// The three fates. There is no fourth: what is not surely stored and not
// surely refused is Unknown, and only a repeat with the same id and stamp is
// right then.
const (
	Unknown Fate = iota // it may be stored
	Stored              // the broker has it
	Refused             // it is surely not stored
)

// String is the fate in lower case.
func (f Fate) String() string {
	switch f {
	case Stored:
		return "stored"
	case Refused:
		return "refused"
	}
	return "unknown"
}

// PublishResult is the fate of one message.
type PublishResult struct {
	Fate     Fate
	Position Position // where it lies, if the broker says so
	Err      error    // why it is not Stored; nil if it is
}

// Source is the receiving half of a broker driver for one or more
// destinations, fixed when the driver made it.
type Source interface {
	Capabilities() Capabilities
	// Subscribe joins the group. For exclusive partitions owner is called as
	// partitions come and go; for shared ones it is never called and every
	// Batch carries request.Token.
	Subscribe(ctx context.Context, request SubscribeRequest, owner Owner) (Subscription, error)
}

// SubscribeRequest says who joins.
type SubscribeRequest struct {
	Group  string
	Worker string // name of this worker, unique among the living ones
	Token  Token  // the worker's own token, carried by batches of shared partitions
}

// Subscription hands out batches and takes back settlements. Fetch is called
// from one goroutine at a time; the other methods from any.
type Subscription interface {
	// Fetch returns at most one batch of each partition, of at most
	// request.Max messages. It waits until there are request.Min messages in
	// all or request.Wait has passed; no batches and a nil error is a normal
	// answer. Batches beside an error are good.
	Fetch(ctx context.Context, request FetchRequest) ([]Batch, error)
	// Settle finishes deliveries and returns one error each, in order. It may
	// fail: that only means another delivery. Receipts of an older session are
	// refused with ErrStaleReceipt, by the driver itself.
	Settle(ctx context.Context, settlements []Settlement) []error
	// Restart gives back all that was handed over of the partition and not
	// settled, buffers of the client too, and hands it over again from
	// start.Position in batches that carry start.Token. Batches handed over
	// before keep their old token. ErrNotOwner when the partition is not ours.
	Restart(ctx context.Context, partition Partition, start Start) error
	// Close leaves the group. Owner.Revoked is called for what is still owned
	// before Close returns.
	Close(ctx context.Context) error
}

// FetchRequest bounds one Fetch.
type FetchRequest struct {
	Max    int           // most messages of each batch
	Min    int           // return as soon as there are this many in all
	Wait   time.Duration // longest wait for Min
	Paused []Partition   // nothing of these: their queue is full here
}

// Batch is messages of one partition in its order, with the token under which
// they were fetched, not the one held when they are looked at.
type Batch struct {
	Partition  Partition
	Token      Token
	Deliveries []Delivery
	// Covered are the offsets inside the batch that the broker never delivers
	// (transaction markers, aborted, compacted). They enter the roll with it.
	Covered []OffsetRange
}

// OffsetRange is the offsets from First to Last, both included.
type OffsetRange struct {
	First, Last int64
	// Lost: they were removed before the group did them, and somebody said to go on
	// behind them. They are counted as Lost, not as Void.
	Lost bool
}

// Owner is told of exclusive partitions coming and going. The engine
// implements it. Every call may block; none of them needs Fetch to return.
type Owner interface {
	// Assigned says that the partitions are ours now. It returns for each, in
	// order, the token to put on its batches and where to start: after what the
	// store's roll holds, or the zero Position for earliest, never latest. A
	// driver refuses a start of another incarnation than the partition's.
	Assigned(ctx context.Context, assignments []Assignment) ([]Start, error)
	// Revoked returns when the partitions are drained or dropped; only then
	// may the driver let them go. Receipts are good until it returns.
	Revoked(ctx context.Context, partitions []Partition)
	// Lost says that the partitions are no longer ours: nothing is settled.
	Lost(partitions []Partition)
}

// Assignment is one partition that became ours.
type Assignment struct {
	Partition   Partition
	Incarnation Incarnation // zero where the partition has no positions
}

// Start is where to begin, and under which token.
type Start struct {
	Token    Token
	Position Position
	// Seen is the highest position that is done, with the leader epoch in which it
	// was written, where the broker has epochs. A driver that can find out whether
	// the log was cut off below it does so, and refuses. Default: zero, none.
	Seen Position
}

// Verb is what to do with a delivery.
type Verb uint8

// The verbs of a Settlement.
const (
	Ack        Verb = iota // done: never bring it again
	Retry                  // bring it again
	RetryAfter             // bring it again, not before Settlement.After has passed
	Reject                 // cannot be used: the broker's own dead-letter rule applies
)

// Settlement finishes one delivery.
type Settlement struct {
	Partition Partition
	Receipt   Receipt
	Verb      Verb
	After     time.Duration // only with RetryAfter
}

// Optional powers, found by type assertion: Extender and Emptier on a Subscription, Measurer,
// Tapper, Explainer and Noter on a Source, Transactor, Unrepeatable and SideMaker on
// a Sender.
type (
	// Extender keeps deliveries from coming again while they are worked on. It
	// returns new receipts: the old ones may be void.
	Extender interface {
		Extend(ctx context.Context, receipts []Receipt, by time.Duration) ([]Receipt, []error)
	}
	// Unrepeatable says which destinations do not absorb a second copy of a
	// message: what may have been stored there must not be published again. A
	// Sender without it absorbs, or the stamp does so behind it. A Publish there
	// must end within a bound of its own: a Relay does not cut it short.
	Unrepeatable interface {
		Unrepeatable(destination string) bool
	}
	// Measurer says how much lies in the partitions of the Source: it makes
	// `run --until-empty` and the conservation line possible.
	Measurer interface {
		Measure(ctx context.Context) ([]Extent, error)
	}
	// Emptier says, on a Subscription of partitions without positions, whether there is
	// anything left: it makes `run --until-empty` possible there.
	Emptier interface {
		// Empty says that nothing waits to be handed over to us, neither in the broker,
		// as far as it tells, nor in what the driver holds, and that all that was handed
		// over to us is settled. What others hold unsettled may still come.
		Empty(ctx context.Context) (bool, error)
	}
	// Tapper reads what lies in the partitions of the Source and what comes,
	// without a group: nobody who works on them notices.
	Tapper interface {
		// Tap begins at the first message that the broker took at since or later;
		// the zero time: at the first that is there.
		Tap(ctx context.Context, since time.Time) (Tap, error)
	}
	// Explainer says why offsets of a partition are not delivered. The audit asks it
	// where a number lies that is missing.
	Explainer interface {
		// Explain returns the offsets from first to last that a reader is not given,
		// in order, as holes; an offset in none of them holds a message.
		Explain(ctx context.Context, partition Partition, first, last int64) ([]Hole, error)
	}
	// Noter tells what the broker itself has noted as a group's place: of each
	// partition the offset behind the last that was settled. The engine never reads
	// it; a store that is behind it was restored from an older copy.
	Noter interface {
		Noted(ctx context.Context, group string) (map[Partition]int64, error)
	}
	// SideMaker makes the side destination, if it is missing and the broker lets us,
	// fit for books: small, kept for a month at least, never dropping the last record
	// of a life before.
	SideMaker interface {
		MakeSide(ctx context.Context, destination string) error
	}
	// Transactor publishes messages and moves positions as one (Kafka). No
	// settlements means: publish only. A non-nil error that is ErrInDoubt may
	// have happened; any other surely has not.
	Transactor interface {
		Transact(ctx context.Context, settled []Settlement, out map[string][]Message) error
	}
)

// Tap reads partitions without a group. It is used by one goroutine at a time.
type Tap interface {
	// Fetch is Subscription.Fetch, without tokens; receipts in it settle nothing.
	// Where messages went away before they were read, or the log was made again, it
	// says so once, ErrMissed, and goes on at what is there. Other errors are about
	// now: call it again.
	Fetch(ctx context.Context, request FetchRequest) ([]Batch, error)
	Close() error
}

// Hole is offsets from First to Last that are not delivered, and why.
type Hole struct {
	First, Last int64
	Cause       HoleCause
	// Stamps of messages in it that are still there, though never delivered: of
	// aborted transactions.
	Stamps []Stamp
}

// HoleCause is why an offset is not delivered.
type HoleCause string

// The causes.
const (
	HoleRemoved   HoleCause = "removed"   // below the first offset: retention, or somebody deleted records
	HoleBeyond    HoleCause = "beyond"    // at or behind the end: the log was cut off, or is another one
	HoleCompacted HoleCause = "compacted" // a later message of the same key took its place, or it was a tombstone
	HoleAborted   HoleCause = "aborted"   // written in a transaction that was aborted
	HoleMarker    HoleCause = "marker"    // the broker's own: the end of a transaction
)

// Extent is what a replayable partition holds: offsets First up to, not
// including, End. Offsets below First were removed by retention.
type Extent struct {
	Partition   Partition
	Incarnation Incarnation
	First, End  int64
}
