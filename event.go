package rollcall

import (
	"context"
	"log/slog"
	"time"
)

// Observer is told what happens, synchronously: it must return soon. Logs,
// metrics and traces are observers; the core calls no logger.
type Observer interface {
	Observe(event Event)
}

// Event is one thing that happened. The concrete types are the list below.
type Event interface{ event() }

// Committed: a transaction of a batch, or of one aside row, is durable.
type Committed struct {
	Partition  Partition
	Delivered  int // deliveries in it
	Duplicates int // of these, absorbed because they were done already
	Counts     Counts
	SetAside   int // rows written aside
	Took       time.Duration
}

// SetAside: one message was set aside.
type SetAside struct {
	MessageID   MessageID
	Destination string
	State       AsideState
	Attempts    int
	Cause       string
}

// InDoubt: a COMMIT had no answer; the batch runs again from BEGIN.
type InDoubt struct {
	Partition Partition
	Err       error
}

// Fenced: another owner holds the token; nothing was settled.
type Fenced struct {
	Partition Partition
	Err       error
}

// Paused: the environment failed; the same work is tried again after a while.
type Paused struct {
	Where string
	Err   error
	For   time.Duration
}

// SettleFailed: deliveries could not be settled; they come again and are absorbed.
type SettleFailed struct {
	Partition Partition
	Failed    int
	Err       error
}

// RollOverflow: a roll outgrew its size. The numbers from First to Last are
// Unknown from now on: messages with them are parked.
type RollOverflow struct {
	Scope       Scope
	First, Last uint64
}

// Owned: exclusive partitions came (true) or went.
type Owned struct {
	Partitions []Partition
	Gained     bool
}

// Hit: another worker was faster with these messages; the rest is redone.
type Hit struct {
	Partition Partition
	Messages  int
}

// Suspected: messages that can have been in work when a worker ended.
type Suspected struct {
	Partition Partition
	Messages  int // suspects written down
	Alone     int // of these, run alone because they were suspect before
}

// SweptUp: what a sweep removed.
type SweptUp struct{ Swept Swept }

// Remade: a destination was made again, or is another one: the group has done so many
// offsets of partitions that are not there any more. What is there now is read from
// its beginning.
type Remade struct {
	Destination string
	Done        uint64
}

// Overdue: a message lay in a queue for longer than the source was said to keep one
// (Capabilities.Late), or, where nothing was said, than records are kept: a repeat that
// comes as late is New.
type Overdue struct {
	Destination string
	Age, Limit  time.Duration
}

// Expired: dead letters that were discarded because of their age.
type Expired struct{ Rows int }

// BooksFailed: the books of a sender could not be written; its messages go on. They
// are tried again, and say all then.
type BooksFailed struct {
	Destination string
	Err         error
	Missed      int // records since it was told last
}

func (Committed) event()    {}
func (SetAside) event()     {}
func (Overdue) event()      {}
func (InDoubt) event()      {}
func (Fenced) event()       {}
func (Paused) event()       {}
func (SettleFailed) event() {}
func (RollOverflow) event() {}
func (Owned) event()        {}
func (Hit) event()          {}
func (Suspected) event()    {}
func (SweptUp) event()      {}
func (Expired) event()      {}
func (Remade) event()       {}
func (BooksFailed) event()  {}

// SlogObserver writes what a person on call wants to see to log: trouble as
// warnings, the rest as debug.
func SlogObserver(log *slog.Logger) Observer { return slogObserver{log} }

type slogObserver struct{ log *slog.Logger }

func (o slogObserver) Observe(event Event) {
	level, name, args := slog.LevelWarn, "", []any(nil)
	switch e := event.(type) {
	case Committed:
		level, name = slog.LevelDebug, "committed"
		args = []any{"destination", e.Partition.Destination, "partition", e.Partition.Number, "delivered", e.Delivered,
			"applied", e.Counts.Applied, "duplicates", e.Duplicates, "set_aside", e.SetAside, "took", e.Took}
	case SetAside:
		if name = "set aside"; e.State == AsideWaiting && e.Attempts == 0 {
			level = slog.LevelDebug // early, or behind another: no trouble yet
		}
		args = []any{"message_id", string(e.MessageID), "destination", e.Destination, "state", e.State, "attempts", e.Attempts, "cause", e.Cause}
	case InDoubt:
		name, args = "commit in doubt, redoing", []any{"destination", e.Partition.Destination, "partition", e.Partition.Number, "error", e.Err}
	case Fenced:
		name, args = "fenced, nothing settled", []any{"destination", e.Partition.Destination, "partition", e.Partition.Number, "error", e.Err}
	case Paused:
		name, args = "paused", []any{"where", e.Where, "for", e.For, "error", e.Err}
	case SettleFailed:
		name, args = "settle failed, it comes again", []any{"destination", e.Partition.Destination, "failed", e.Failed, "error", e.Err}
	case RollOverflow:
		level, name = slog.LevelError, "roll too large, numbers are unknown now"
		args = []any{"first", e.First, "last", e.Last}
	case Owned:
		level, name = slog.LevelInfo, "partitions lost"
		if e.Gained {
			name = "partitions gained"
		}
		args = []any{"partitions", e.Partitions}
	case Hit:
		level, name, args = slog.LevelDebug, "another worker was faster", []any{"messages", e.Messages}
	case Suspected:
		name, args = "a worker ended in mid-message", []any{"destination", e.Partition.Destination, "partition", e.Partition.Number,
			"suspect", e.Messages, "alone", e.Alone}
	case BooksFailed:
		name, args = "the sender's books were not written, messages go on", []any{"destination", e.Destination, "missed", e.Missed, "error", e.Err}
	case SweptUp:
		level, name = slog.LevelInfo, "swept"
		args = []any{"keys", e.Swept.Keys, "rolls", e.Swept.Rolls, "asides", e.Swept.Asides,
			"results", e.Swept.Results, "claims", e.Swept.Claims, "fenced", e.Swept.Fenced}
	case Remade:
		name, args = "the destination was made again, or is another one: it is read from its beginning", []any{"destination", e.Destination, "done_before", e.Done}
	case Overdue:
		name, args = "a message lay longer than repeats are surely recognised", []any{"destination", e.Destination, "age", e.Age, "limit", e.Limit}
	case Expired:
		name, args = "dead letters discarded because of their age", []any{"rows", e.Rows}
	}
	o.log.Log(context.Background(), level, name, args...)
}
