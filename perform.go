package rollcall

import (
	"context"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall/internal/failpoint"
	"github.com/rollcall-mq/rollcall/internal/interval"
	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// transaction carries out the actions of one protocol.Work on the store.
type transaction[X any] struct {
	*engine[X]
	hold    Hold
	subject *subject
	started time.Time

	tx      Tx[X]
	wrong   bool                        // something that was believed was not so: nothing is any more
	sure    bool                        // the store finds out with the effects, see Assumer
	assumed []string                    // Keys that nobody is believed to wait for
	undo    func(context.Context) error // to the last savepoint
	unclaim func(context.Context) error // to before the row was claimed
	locked  []*Roll                     // as read, then as this transaction leaves them
	aside   []Aside                     // what it set aside
	counts  Counts
}

// rollback ends the transaction that is open, if there is one. What failed is
// reported elsewhere; a rollback that fails too changes nothing.
func (t *transaction[X]) rollback() {
	if t.tx != nil {
		_ = t.tx.Rollback()
	}
	t.tx, t.assumed, t.locked, t.aside, t.counts = nil, nil, nil, nil, Counts{}
}

// again prepares for another transaction. What was read under a lock is final
// for what it calls Known.
func (t *transaction[X]) again(a protocol.Action) {
	if a.Hits > 0 {
		t.subject.cache.contended.Store(true)
		t.subject.cache.learn(t.locked)
		t.observe(Hit{t.subject.partition, a.Hits})
	}
	t.rollback()
}

// prefixes tell the failpoints of one kind of transaction from those of another.
var prefixes = map[protocol.Kind]string{protocol.OfRow: "aside-", protocol.OfRowAttempt: "aside-attempt-",
	protocol.OfSuspects: "suspect-", protocol.OfAlone: "alone-"}

// perform carries out one action and returns the answer.
func (t *transaction[X]) perform(ctx context.Context, w *protocol.Work, a protocol.Action) (event protocol.Event, err error) {
	if err := failpoint.Hit(ctx, prefixes[w.Kind]+a.Do.String(), len(w.Items)); err != nil {
		return event, err
	}
	switch a.Do {
	case protocol.Begin:
		t.tx, err = t.store.Begin(ctx)
		t.sure = err == nil && t.believes(w)
	case protocol.Token:
		err = t.tx.Fence(ctx, t.hold)
	case protocol.Claim, protocol.Turn:
		event.Turned, err = t.turn(ctx, w, a)
	case protocol.Commit:
		if err = t.tx.Commit(ctx); err == nil {
			err = failpoint.Hit(ctx, prefixes[w.Kind]+"committed", len(w.Items))
		}
	case protocol.Counts:
		err = t.count(ctx, w)
	case protocol.Undo:
		event.Broken = t.undo(ctx) != nil
	case protocol.Asides, protocol.Attempts:
		err = t.setAside(ctx, w, a)
	default:
		if !a.Nothing() {
			event, err = t.ask(ctx, w, a)
		}
	}
	return event, err
}

// ask carries out an action whose answer the protocol looks at.
func (t *transaction[X]) ask(ctx context.Context, w *protocol.Work, a protocol.Action) (event protocol.Event, err error) {
	switch a.Do {
	case protocol.Keys:
		event.Keys, err = t.claimKeys(ctx, w, a.Claims)
	case protocol.Queues:
		if t.sure {
			t.assumed = a.Keys
		} else {
			event.Queues, err = t.queues(ctx, a.Keys)
		}
	case protocol.Effects:
		if err := t.confirm(ctx); err != nil {
			return event, err
		}
		return t.effects(ctx, w, a)
	case protocol.Rolls:
		event.Sets, err = t.lockRolls(ctx, w, a.Rolls)
	case protocol.Write:
		err = t.writeRolls(ctx, a.Rolls)
	case protocol.Known:
		event.Rows, err = t.known(ctx, w, a.Items)
	}
	return event, err
}

func (t *transaction[X]) claimKeys(ctx context.Context, w *protocol.Work, claims []protocol.KeyClaim) ([]protocol.KeyAnswer, error) {
	out := make([]KeyClaim, len(claims))
	for i, c := range claims {
		out[i] = KeyClaim{DedupKey(c.Key), Identity(w.Items[c.Item].Identity)}
	}
	answers, err := t.tx.Records().Claim(ctx, t.group, out)
	if err != nil {
		return nil, err
	}
	heard := make([]protocol.KeyAnswer, len(answers))
	for i, a := range answers {
		heard[i] = protocol.KeyAnswer{Fresh: a.Fresh, Own: a.Owner == out[i].Owner, Held: a.Held}
	}
	return heard, nil
}

func (t *transaction[X]) queues(ctx context.Context, keys []string) (map[string]protocol.Queue, error) {
	queues, err := t.tx.Asides().Queues(ctx, t.group, keys)
	out := make(map[string]protocol.Queue, len(queues))
	for key, q := range queues {
		out[key] = protocol.Queue(q)
	}
	return out, err
}

// lockRolls locks rolls of the table, in its order, and reads them again.
func (t *transaction[X]) lockRolls(ctx context.Context, w *protocol.Work, rolls []int) ([]*interval.Set, error) {
	scopes := make([]Scope, len(rolls))
	for i, r := range rolls {
		scopes[i] = t.subject.scopes[r]
	}
	if err := t.lock(ctx, scopes); err != nil {
		return nil, err
	}
	if w.Kind == protocol.OfSuspects {
		t.subject.cache.learn(t.locked) // this transaction does not change them
	}
	sets := make([]*interval.Set, len(t.locked))
	for i, r := range t.locked {
		sets[i] = &r.set
	}
	return sets, nil
}

func (t *transaction[X]) lock(ctx context.Context, scopes []Scope) (err error) {
	if t.sure {
		return t.assume(ctx, scopes)
	}
	rows, err := t.tx.Records().Lock(ctx, t.group, scopes)
	if err != nil {
		return err
	}
	t.locked, err = openRolls(rows)
	return err
}

// believes reports whether the store can find out with the effects what is asked
// for: that the rolls are as the cache has them and nobody waits.
func (t *transaction[X]) believes(w *protocol.Work) bool {
	_, can := t.tx.(Assumer)
	return can && !t.wrong && w.Kind == protocol.OfBatch && w.Config.LockFirst && t.subject.cache.has(t.subject.scopes)
}

// assume goes on with what the cache has; the store finds out.
func (t *transaction[X]) assume(ctx context.Context, scopes []Scope) error {
	rolls, known := t.subject.cache.copies(scopes)
	if !known {
		return ErrOutdated
	}
	rows := make([]RollRow, len(rolls))
	for i, r := range rolls {
		row, err := r.Row()
		if err != nil {
			return err
		}
		rows[i] = row
	}
	t.locked = rolls
	return t.tx.(Assumer).Assume(ctx, t.group, t.assumed, rows)
}

// confirm keeps a handler's statements apart from what the batch began with, once
// they failed together: whose fault it was is seen then.
func (t *transaction[X]) confirm(ctx context.Context) error {
	if a, can := t.tx.(Assumer); can && t.wrong {
		return a.Confirm(ctx)
	}
	return nil
}

// writeRolls writes those of the locked rolls that changed, each below its
// size: the oldest region becomes Unknown, never Known.
func (t *transaction[X]) writeRolls(ctx context.Context, changed []int) error {
	rows := make([]RollRow, len(changed))
	for i, at := range changed {
		r := t.locked[at]
		if lost, cut := r.set.Limit(t.config.RollSize); cut {
			t.observe(RollOverflow{r.Scope, lost.First, lost.Last})
		}
		if r.Scope == t.subject.cache.partition {
			r.done(t.subject.deliveries)
		}
		row, err := r.Row()
		if err != nil {
			return err
		}
		rows[i] = row
	}
	return t.tx.Records().Write(ctx, t.group, rows)
}

// known reads the rows of messages, in sorted order of their identities.
func (t *transaction[X]) known(ctx context.Context, w *protocol.Work, items []int) ([]protocol.Found, error) {
	ids := t.identities(w, items)
	slices.SortFunc(ids, func(a, b Identity) int { return slices.Compare(a[:], b[:]) })
	rows, err := t.tx.Asides().Known(ctx, t.group, ids)
	if err != nil {
		return nil, err
	}
	found := make([]protocol.Found, len(items))
	for i, item := range items {
		if row, ok := rows[t.subject.identity(w.Items[item].Index)]; ok {
			found[i] = protocol.Found{ID: row.ID, State: stateNumber(row.State), Attempts: row.Attempts, Cause: row.Cause}
		}
	}
	return found, nil
}

func (t *transaction[X]) identities(w *protocol.Work, items []int) []Identity {
	ids := make([]Identity, len(items))
	for i, item := range items {
		ids[i] = t.subject.identity(w.Items[item].Index)
	}
	return ids
}

// durable takes over what the transaction left and reports it.
func (t *transaction[X]) durable(w *protocol.Work) {
	took := t.config.Clock.Now().Sub(t.started)
	s := t.subject
	switch w.Kind {
	case protocol.OfSuspects:
		t.observe(Suspected{s.partition, len(w.Items), len(w.Alone)})
	case protocol.OfRow:
		it := &w.Items[0]
		if state, ok := it.Fate.Aside(); ok && state != protocol.RowWaiting {
			t.observe(SetAside{s.row.Message.ID, s.row.Message.Destination, stateName(state), it.Spent(), it.Cause})
		}
		t.observe(Committed{Partition: s.partition, Counts: t.counts, Took: took})
	case protocol.OfBatch:
		s.cache.learn(t.locked)
		duplicates := 0
		for i := range w.Items {
			if w.Items[i].Fate == protocol.Dropped {
				duplicates++
			}
		}
		for _, a := range t.aside {
			t.observe(SetAside{a.Message.ID, a.Message.Destination, a.State, a.Attempts, a.Cause})
		}
		t.observe(Committed{Partition: s.partition, Delivered: len(w.Items), Duplicates: duplicates,
			Counts: t.counts, SetAside: len(t.aside), Took: took})
	}
}
