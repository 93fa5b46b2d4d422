package rollcall

import (
	"context"
	"time"
)

// OperatorVerb is what somebody did by hand, or an age did for them.
type OperatorVerb string

// The verbs of the operator log.
const (
	OperatorRedrive OperatorVerb = "redrive" // a row made due again
	OperatorDiscard OperatorVerb = "discard" // a row given up
	OperatorEdit    OperatorVerb = "edit"    // a row replaced by a corrected message of another identity
	OperatorExpire  OperatorVerb = "expire"  // a row given up by dead_letters.keep
	OperatorWaive   OperatorVerb = "waive"   // numbers that are missing, accepted as such
	OperatorRecover OperatorVerb = "recover" // a lost message sent again with its original stamp
)

// OperatorEntry is one line of the operator log of a group. The log only grows:
// nothing changes or removes an entry, no sweep either.
type OperatorEntry struct {
	ID       int64     // of the store, ascending. Ignored when writing
	Time     time.Time // by the clock of who wrote it
	Operator string    // who: for people, nobody checks it
	Verb     OperatorVerb
	Reason   string // why, for people. Required for discard and waive
	// Aside is the row that it was done to; 0: none.
	Aside       int64
	MessageID   MessageID // of the message, if known
	Destination string
	// Scope and Numbers name the numbers of a sender that it is about. Default:
	// zero, none.
	Scope   Scope
	Numbers NumberRange
	// Detail is what else is worth keeping: of edit, discard and expire the original
	// body, of redrive the cause that the row had.
	Detail []byte
}

// Note appends entries to the operator log of a group, all or none.
func Note[X any](ctx context.Context, store Store[X], group string, entries ...OperatorEntry) error {
	tx, err := store.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := tx.Records().Note(ctx, group, entries); err != nil {
		return err
	}
	return tx.Commit(ctx)
}
