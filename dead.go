package rollcall

import (
	"context"
	"strings"
	"time"
)

// Operation is who changes rows set aside, and why. It goes into the operator
// log, in the transaction of the change.
type Operation struct {
	// Operator is who, for people; nobody checks it. Default: empty.
	Operator string
	// Reason is why, for people. Required by Discard. Default: empty.
	Reason string
	// Time is when. Default: now.
	Time time.Time
}

func (o Operation) withDefaults() Operation {
	if o.Time.IsZero() {
		o.Time = time.Now()
	}
	return o
}

func (o Operation) entry(verb OperatorVerb, row *Aside, detail []byte) OperatorEntry {
	return OperatorEntry{Time: o.Time, Operator: o.Operator, Verb: verb, Reason: o.Reason,
		Aside: row.ID, MessageID: row.Message.ID, Destination: row.Message.Destination, Detail: detail}
}

// redriven begins the cause of a row that waits because of a redrive.
const redriven = "redriven; before: "

// Redrive makes rows that are dead or parked due again, with all their attempts
// before them, and returns how many. Doing it twice is harmless: the second
// time they are waiting, in work or done. The operator log keeps the cause that
// each had. After an error none was changed, unless it is ErrInDoubt.
func Redrive[X any](ctx context.Context, store Store[X], group string, rows []Aside, op Operation) (int, error) {
	op = op.withDefaults()
	return turnAll(ctx, store, group, rows, func(tx Tx[X], row Aside) (*OperatorEntry, error) {
		ok, err := tx.Asides().Turn(ctx, group, row.ID, []AsideState{AsideDead, AsideParked}, AsideChange{
			State: AsideWaiting, Cause: redriven + row.Cause, OwnsKey: row.OwnsKey, Due: op.Time, Updated: op.Time})
		if err != nil || !ok {
			return nil, err
		}
		e := op.entry(OperatorRedrive, &row, []byte(row.Cause))
		return &e, nil
	})
}

// Discard gives up rows that are waiting, dead or parked, as List returned them:
// it frees the DedupKey that a row owns, counts them as discarded, and returns
// how many. Afterwards only the operator log has their bodies. ErrConfig without
// a Reason. After an error none was changed, unless it is ErrInDoubt.
func Discard[X any](ctx context.Context, store Store[X], group string, rows []Aside, op Operation) (int, error) {
	if strings.TrimSpace(op.Reason) == "" {
		return 0, configError("reason", `""`, "say why the messages are given up; nothing was discarded")
	}
	op = op.withDefaults()
	return turnAll(ctx, store, group, rows, func(tx Tx[X], row Aside) (*OperatorEntry, error) {
		return giveUp(ctx, tx, group, &row, []AsideState{AsideWaiting, AsideDead, AsideParked}, op.entry(OperatorDiscard, &row, row.Message.Body))
	})
}

// giveUp takes a row to discarded and counts it. It returns the entry that says
// so; nil when the row is in another state.
func giveUp[X any](ctx context.Context, tx Tx[X], group string, row *Aside, from []AsideState, e OperatorEntry) (*OperatorEntry, error) {
	ok, err := tx.Asides().Turn(ctx, group, row.ID, from, AsideChange{
		State: AsideDiscarded, Cause: row.Cause, Attempts: row.Attempts, Due: e.Time, Updated: e.Time})
	if err != nil || !ok {
		return nil, err
	}
	if err := freeOwn(ctx, tx, group, row); err != nil {
		return nil, err
	}
	return &e, tx.Records().Count(ctx, group, row.Message.Destination, operatorSlot, Counts{Discarded: 1})
}

// freeOwn frees the DedupKey that the row owns.
func freeOwn[X any](ctx context.Context, tx Tx[X], group string, row *Aside) error {
	if !row.OwnsKey {
		return nil
	}
	return tx.Records().Free(ctx, group, []DedupKey{row.DedupKey})
}

// operatorSlot is the counter row of what operators do.
const operatorSlot = -1 - asideSlots

// turnAll changes rows in one transaction, with their entries of the operator
// log: all of them or none.
func turnAll[X any](ctx context.Context, store Store[X], group string, rows []Aside, turn func(Tx[X], Aside) (*OperatorEntry, error)) (n int, err error) {
	if len(rows) == 0 {
		return 0, nil
	}
	tx, err := store.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			n = 0
			_ = tx.Rollback()
		}
	}()
	var entries []OperatorEntry
	for _, row := range rows {
		e, err := turn(tx, row)
		if err != nil {
			return 0, err
		}
		if e != nil {
			entries = append(entries, *e)
		}
	}
	if err := tx.Records().Note(ctx, group, entries); err != nil {
		return 0, err
	}
	return len(entries), tx.Commit(ctx)
}
