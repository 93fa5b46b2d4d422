package rollcall

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall/internal/backoff"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// This file is the commit protocol: the only place where once is decided, and
// the only one that orders its steps. The numbers are those of the project's
// design (docs/how-it-works.md); protocol-cases names what each prevents.
//
//	1 drop what is Known        (plan.go)
//	2 BEGIN; token
//	3 keys
//	4 behind
//	5 effects                   (effects.go)
//	6 rolls, again
//	7 aside rows
//	8 COMMIT
//	9 settle

// work is one batch, or a part of it, on its way through the protocol.
type work struct {
	hold    Hold
	batch   *Batch
	items   []*item
	rolls   *rollCache
	covered bool        // this part carries the batch's covered offsets
	careful bool        // savepoints: a handler failed when they ran without
	singly  bool        // one by one: a failure took the transaction with it
	alone   *Aside      // the attempt row of the one suspect message that this part is
	aside   []Aside     // what this transaction set aside
	merged  lockedRolls // the rolls as this transaction leaves them
}

// process takes a batch from fetch to settle. It returns nil when the batch is
// durable, ErrFenced when the token of its fetch is no longer good (nothing was
// settled), or the error of ctx.
func (e *engine[X]) process(ctx context.Context, hold Hold, b *Batch, rolls *rollCache, suspects *int) error {
	if err := e.load(ctx, b, rolls); err != nil {
		return err
	}
	items := e.plan(b, rolls) // 1
	parts, err := e.suspectParts(ctx, hold, b, items, rolls, suspects)
	if err != nil {
		return err
	}
	for i := range parts {
		parts[i].covered = i == len(parts)-1
		if err := e.sideBySide(ctx, &parts[i]); err != nil {
			return err
		}
	}
	if err := failpoint.Hit(ctx, "settle", len(items)); err != nil {
		return err
	}
	e.settle(ctx, b) // 9
	return nil
}

// sideBySide deals a part by Key over several transactions and waits for all:
// the partition stands still until none of them is in doubt.
func (e *engine[X]) sideBySide(ctx context.Context, w *work) error {
	if w.alone != nil {
		if err := e.bump(ctx, w); err != nil {
			return err
		}
	}
	hands := w.deal(e.config.Parallel)
	if len(hands) == 1 {
		return e.complete(ctx, &hands[0])
	}
	errs := make([]error, len(hands))
	var wg sync.WaitGroup
	for i := range hands {
		wg.Go(func() { errs[i] = e.complete(ctx, &hands[i]) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// complete runs the transaction until it is durable. A hit, a failing handler
// and a COMMIT in doubt lead to the same: again from BEGIN. Nothing is guessed.
func (e *engine[X]) complete(ctx context.Context, w *work) error {
	started := e.config.Clock.Now()
	for try := 0; ; try++ {
		begin(w.items)
		counts, err := e.transact(ctx, w)
		switch {
		case err == nil:
			e.committed(w, counts, e.config.Clock.Now().Sub(started))
			return nil
		case errors.Is(err, errRedo):
			try = -1
			continue
		case errors.Is(err, ErrFenced):
			e.observe(Fenced{w.batch.Partition, err})
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrInDoubt):
			// The roll, the key or the aside row tells: the redo waits on the
			// locks of the transaction in doubt and then finds what it left.
			e.observe(InDoubt{w.batch.Partition, err})
		default:
			w.careful = w.careful || e.store.Classify(err) == ClassConflict
		}
		if err := e.pause(ctx, "batch", err, try); err != nil {
			return err
		}
	}
}

// errRedo: the plan or the way of running changed; again from BEGIN, at once.
var errRedo = errors.New("rollcall: again from BEGIN")

// transact is steps 2 to 8 for one part of a batch.
func (e *engine[X]) transact(ctx context.Context, w *work) (counts Counts, err error) {
	if !w.anythingNew() {
		return Counts{}, nil
	}
	if err := failpoint.Hit(ctx, "begin", len(w.items)); err != nil {
		return Counts{}, err
	}
	tx, err := e.store.Begin(ctx)
	if err != nil {
		return Counts{}, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // what failed is reported; a rollback that fails too changes nothing
		}
	}()
	steps := []struct {
		name string
		do   func() error
	}{
		{"token", func() error { return tx.Fence(ctx, w.hold) }},        // 2
		{"keys", func() error { return e.claimKeys(ctx, tx, w.items) }}, // 3
		{"behind", func() error { return e.findBehind(ctx, tx, w) }},    // 4
		{"effects", func() error { return e.runEffects(ctx, tx, w) }},   // 5
		{"rolls", func() error { return e.mergeRolls(ctx, tx, w) }},     // 6
		{"asides", func() error { return e.writeAsides(ctx, tx, w) }},   // 7
		{"counts", func() (err error) { counts, err = e.count(ctx, tx, w); return err }},
		{"commit", func() error { return tx.Commit(ctx) }}, // 8
	}
	for _, step := range steps {
		if err = failpoint.Hit(ctx, step.name, len(w.items)); err == nil {
			err = step.do()
		}
		if err != nil {
			return Counts{}, err
		}
	}
	return counts, failpoint.Hit(ctx, "committed", len(w.items))
}

// claimKeys is step 3: the DedupKeys of all messages left, sorted, repeats
// inside the batch removed first. Winners stay Fresh. Losers are never set
// aside, but where a dead or parked row holds the key.
func (e *engine[X]) claimKeys(ctx context.Context, tx Tx[X], items []*item) error {
	byKey := make(map[DedupKey]*item)
	var claims []KeyClaim
	for _, it := range items {
		if !it.hasKey || it.fate != fateRun && it.fate != fateWaiting && it.fate != fateDead {
			continue
		}
		if first := byKey[it.key]; first != nil {
			it.fate = fateRepeated
			if first.id() == it.id() {
				it.fate = fateDropped // not the application sending twice
			}
			continue
		}
		byKey[it.key] = it
		claims = append(claims, KeyClaim{it.key, it.id()})
	}
	if len(claims) == 0 {
		return nil
	}
	slices.SortFunc(claims, func(a, b KeyClaim) int { return slices.Compare(a.Key[:], b.Key[:]) })
	answers, err := tx.Records().Claim(ctx, e.group, claims)
	if err != nil {
		return err
	}
	for i, a := range answers {
		it := byKey[claims[i].Key]
		switch {
		case a.Fresh:
		case a.Owner == it.id():
			it.fate = fateDropped // this very message: redelivered, or our own COMMIT in doubt
		case a.Held:
			it.fate, it.cause = fateDead, causeKeyHeld
			it.hasKey = false // that row does not own the key
		default:
			it.fate = fateRepeated
		}
	}
	return nil
}

const causeKeyHeld = "key held: an earlier message with this key is dead or parked; discard that one and redrive this, or redrive that one"

// findBehind is step 4: Fresh messages whose Key has a row waiting are set
// aside behind it; their DedupKey stays. Nothing is stored as a pointer: it is
// read whenever it is needed. Messages behind one that fails in this very
// batch are found in step 5.
func (e *engine[X]) findBehind(ctx context.Context, tx Tx[X], w *work) error {
	keys := keysOf(w.items)
	if len(keys) == 0 {
		return nil
	}
	queues, err := tx.Asides().Queues(ctx, e.group, keys)
	if err != nil || len(queues) == 0 {
		return err
	}
	var early []string
	for _, it := range w.items {
		q, ok := queues[it.delivery.Key]
		if !ok || it.delivery.Key == "" || it.fate != fateRun {
			continue
		}
		if q.First != 0 {
			it.fate, it.cause = fateBehind, causeBehind
		} else if q.Early {
			early = append(early, it.delivery.Key)
		}
	}
	if len(early) == 0 {
		return nil
	}
	// What came too early is looked at again when another of its Key commits.
	return tx.Asides().Wake(ctx, e.group, distinct(early), e.config.Clock.Now())
}

const causeBehind = "behind an earlier message of its key"

// mergeRolls is step 6: create what is missing, lock all in sorted order, test
// the numbers against what the locking read returned, merge every number of
// the batch but the Unknown ones. A hit means another worker was faster.
func (e *engine[X]) mergeRolls(ctx context.Context, tx Tx[X], w *work) error {
	locked, err := e.lockRolls(ctx, tx, w)
	if err != nil {
		return err
	}
	if hits := retest(w.items, locked); hits > 0 {
		w.rolls.learn(locked)
		e.observe(Hit{w.batch.Partition, hits})
		return errRedo
	}
	for _, it := range w.items {
		if it.fate == fateUnknown {
			continue
		}
		it.merge(locked)
	}
	if w.covered {
		locked.cover(w.rolls.partition, w.batch.Covered)
	}
	out, err := e.limitRolls(locked)
	if err != nil {
		return err
	}
	w.merged = locked
	if len(out) == 0 {
		return nil
	}
	return tx.Records().Write(ctx, e.group, out)
}

// lockRolls locks what the batch may change, and reads it again.
func (e *engine[X]) lockRolls(ctx context.Context, tx Tx[X], w *work) (lockedRolls, error) {
	scopes := w.scopesToLock()
	if len(scopes) == 0 {
		return lockedRolls{}, nil
	}
	rows, err := tx.Records().Lock(ctx, e.group, scopes)
	if err != nil {
		return lockedRolls{}, err
	}
	return openRolls(rows)
}

// retest compares the items with what the locking read returned, changes the
// plan of those that another worker has done, and says how many those are.
func retest(items []*item, locked lockedRolls) (hits int) {
	for _, it := range items {
		if it.fate == fateDropped || it.fate == fateUnknown {
			continue
		}
		for _, m := range it.marks[:it.nmarks] {
			if !m.decides {
				continue
			}
			switch locked.answer(m) {
			case interval.Known:
				it.planned = fateDropped
				hits++
			case interval.Unknown:
				it.planned, it.cause = fateUnknown, causeUnknown
				hits++
			default:
				continue
			}
			break
		}
	}
	return hits
}

// settle is step 9. It may fail: that is only another delivery, absorbed by
// step 1 or 6.
func (e *engine[X]) settle(ctx context.Context, b *Batch) {
	out := make([]Settlement, len(b.Deliveries))
	for i := range out {
		out[i] = Settlement{Partition: b.Partition, Receipt: b.Deliveries[i].Receipt, Verb: Ack}
	}
	failed := SettleFailed{Partition: b.Partition}
	for _, err := range e.subscription().Settle(ctx, out) {
		if err != nil {
			failed.Failed++
			failed.Err = err
		}
	}
	if failed.Failed > 0 {
		e.observe(failed)
	}
}

// pause waits before the same work is tried again. No attempt is spent: it is
// the environment's fault, or the outcome is in doubt.
func (e *engine[X]) pause(ctx context.Context, where string, cause error, try int) error {
	d := backoff.Delay(try, 10*time.Millisecond, 5*time.Second)
	e.observe(Paused{where, cause, d})
	e.trouble.Store(&cause)
	return e.config.Clock.Sleep(ctx, d)
}

// A row set aside goes through the same steps under the worker's own token:
// its claim is the row itself, and its numbers are in their rolls already.

// completeRow runs one due row until it is decided, here or by another worker.
func (e *engine[X]) completeRow(ctx context.Context, row Aside) error {
	it := rowItem(&row)
	mine := false
	err := e.retry(ctx, "aside attempt", func() (err error) {
		mine, err = e.attemptRow(ctx, &row, it)
		return err
	})
	if err != nil || !mine {
		return err
	}
	started := e.config.Clock.Now()
	for try := 0; ; try++ {
		begin([]*item{it})
		counts, err := e.transactRow(ctx, &row, it)
		switch {
		case err == nil:
			e.rowCommitted(&row, it, counts, e.config.Clock.Now().Sub(started))
			return nil
		case errors.Is(err, errGone):
			return nil // another worker was faster, or our COMMIT in doubt had happened
		case errors.Is(err, errRedo):
			try = -1
			continue
		case errors.Is(err, ErrFenced):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if err := e.pause(ctx, "aside", err, try); err != nil {
			return err
		}
	}
}

// errGone: the row is not waiting any more.
var errGone = errors.New("rollcall: the row is not waiting any more")

// transactRow is steps 2 to 8 for a row set aside. It takes the row from
// waiting to done before the effect and undoes that if the effect fails, so
// that two workers, or two redrives, cannot both run it.
func (e *engine[X]) transactRow(ctx context.Context, row *Aside, it *item) (counts Counts, err error) {
	if err := failpoint.Hit(ctx, "aside-begin", 1); err != nil {
		return Counts{}, err
	}
	tx, err := e.store.Begin(ctx)
	if err != nil {
		return Counts{}, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
		}
	}()
	var undo func(context.Context) error
	steps := []struct {
		name string
		do   func() error
	}{
		{"token", func() error { return tx.Fence(ctx, e.ownHold()) }}, // 2
		{"claim", func() (err error) { undo, err = e.claimRow(ctx, tx, row); return err }},
		{"keys", func() error { return e.claimRowKey(ctx, tx, row, it) }},     // 3
		{"behind", func() error { return e.rowBehind(ctx, tx, row) }},         // 4
		{"effects", func() error { return e.runRow(ctx, tx, it) }},            // 5
		{"asides", func() error { return e.turnRow(ctx, tx, row, it, undo) }}, // 7
		{"counts", func() (err error) { counts, err = e.countRow(ctx, tx, row, it); return err }},
		{"commit", func() error { return tx.Commit(ctx) }}, // 8
	}
	for _, step := range steps {
		if err = failpoint.Hit(ctx, "aside-"+step.name, 1); err == nil {
			err = step.do()
		}
		if err != nil {
			return Counts{}, err
		}
	}
	return counts, failpoint.Hit(ctx, "aside-committed", 1)
}
