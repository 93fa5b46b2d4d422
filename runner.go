package rollcall

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// runner works off the batches of one partition, one after the other.
type runner struct {
	partition   Partition
	incarnation Incarnation
	queue       chan *Batch
	quit        chan struct{}      // closed: finish the batch in hand and end
	abort       context.CancelFunc // end at once
	done        chan struct{}
	stopOnce    sync.Once

	mu   sync.Mutex
	hold Hold // the newest token; batches carry the one of their fetch
}

// queueSize is how many batches wait for a partition while one is in work.
const queueSize = 2

func (r *runner) stop() { r.stopOnce.Do(func() { close(r.quit) }) }

func (r *runner) current() Hold {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hold
}

func (r *runner) raise(t Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold.Token = t
}

// Assigned implements Owner: tokens first, then the rolls, which the previous
// owner can no longer change.
func (e *engine[X]) Assigned(ctx context.Context, assignments []Assignment) ([]Start, error) {
	holders := make([]Holder, len(assignments))
	for i, a := range assignments {
		holders[i] = Holder{Partition: a.Partition}
	}
	got, err := e.store.Acquire(ctx, e.group, holders)
	if err != nil {
		return nil, err
	}
	starts := make([]Start, len(assignments))
	for i, a := range assignments {
		hold := Hold{e.group, holders[i], got[i].Token}
		roll, err := e.partitionRoll(ctx, a)
		if err == nil && roll != nil && unplaced(roll) { // it was added while we run
			if err = e.place(ctx, hold); err == nil {
				roll, err = e.partitionRoll(ctx, a)
			}
		}
		if err != nil {
			return nil, err
		}
		starts[i] = startOf(roll, got[i].Token)
		e.startRunner(a, hold, roll, e.suspectBudget(got[i]))
	}
	parts := make([]Partition, len(assignments))
	for i, a := range assignments {
		parts[i] = a.Partition
	}
	e.observe(Owned{parts, true})
	return starts, nil
}

// suspectBudget is how many messages can have been in work when the previous
// owner ended without releasing the partition: its batch in hand.
func (e *engine[X]) suspectBudget(got Acquired) int {
	if got.Clean {
		return 0
	}
	return e.config.Batch
}

func (e *engine[X]) partitionRoll(ctx context.Context, a Assignment) (*Roll, error) {
	if a.Incarnation == (Incarnation{}) {
		return nil, nil
	}
	rows, err := e.store.Rolls(ctx, e.group, []Scope{PartitionScope(a.Partition, a.Incarnation)})
	if err != nil {
		return nil, err
	}
	return OpenRoll(rows[0])
}

// startOf is the first position that is not done: holes above it are replayed and
// what is Known among them dropped. Where the group has no place it is the earliest.
func startOf(roll *Roll, token Token) Start {
	if roll == nil || roll.High() == 0 && !roll.placed {
		return Start{Token: token}
	}
	return Start{Token: token, Position: Position{Incarnation: roll.Scope.ID, Offset: int64(roll.Floor())}, Seen: roll.last()}
}

func (e *engine[X]) startRunner(a Assignment, hold Hold, roll *Roll, suspects int) *runner {
	ctx, abort := context.WithCancel(e.work)
	r := &runner{
		partition: a.Partition, incarnation: a.Incarnation, hold: hold, abort: abort,
		queue: make(chan *Batch, queueSize), quit: make(chan struct{}), done: make(chan struct{}),
	}
	scope := Scope{}
	if roll != nil {
		scope = roll.Scope
	}
	cache := newRollCache(scope)
	if roll != nil {
		cache.rolls[scope] = roll
	}
	e.mu.Lock()
	old := e.partitions[a.Partition]
	e.partitions[a.Partition] = r
	e.mu.Unlock()
	if old != nil {
		old.stop()
	}
	e.roomAgain()
	go e.runPartition(ctx, r, cache, suspects)
	return r
}

// Revoked implements Owner: the batch in hand is finished and settled, the
// rest dropped, and the token marked as cleanly released.
func (e *engine[X]) Revoked(ctx context.Context, partitions []Partition) {
	var holds []Hold
	for _, p := range partitions {
		r := e.takeRunner(p)
		if r == nil {
			continue
		}
		r.stop()
		select {
		case <-r.done:
			holds = append(holds, r.current())
		case <-ctx.Done(): // not drained in time: not a clean release
			r.abort()
		case <-e.work.Done():
			r.abort()
		case <-time.After(e.config.Drain):
			r.abort()
		}
	}
	e.observe(Owned{partitions, false})
	if len(holds) == 0 {
		return
	}
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if err := e.store.Release(rctx, holds); err != nil {
		e.observe(Paused{"release", err, 0})
	}
}

// Lost implements Owner: nothing is settled, nothing released. The token stops
// what may still be in work.
func (e *engine[X]) Lost(partitions []Partition) {
	for _, p := range partitions {
		if r := e.takeRunner(p); r != nil {
			r.stop()
		}
	}
	e.observe(Owned{partitions, false})
}

func (e *engine[X]) takeRunner(p Partition) *runner {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.partitions[p]
	delete(e.partitions, p)
	e.roomAgain()
	return r
}

// paused are the partitions whose queue is full, and whether that is all.
func (e *engine[X]) paused() (full []Partition, all bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for p, r := range e.partitions {
		if len(r.queue) == cap(r.queue) {
			full = append(full, p)
		}
	}
	return full, len(full) > 0 && len(full) == len(e.partitions)
}

// dispatch hands a batch to its partition. One that is not ours any more is
// dropped: unsettled, it comes again where it belongs.
func (e *engine[X]) dispatch(b *Batch) {
	e.mu.Lock()
	r := e.partitions[b.Partition]
	e.mu.Unlock()
	if r == nil {
		if e.can.Exclusive {
			return
		}
		r = e.startRunner(Assignment{Partition: b.Partition}, e.ownHold(), nil, 0)
	}
	select {
	case r.queue <- b:
	case <-r.done:
	case <-e.work.Done():
	}
}

// runPartition is the one goroutine of a partition.
func (e *engine[X]) runPartition(ctx context.Context, r *runner, cache *rollCache, suspects int) {
	defer close(r.done)
	defer r.abort()
	for {
		select { // stopping comes first: nothing else is begun
		case <-r.quit:
			return
		default:
		}
		select {
		case <-r.quit:
			return
		case <-ctx.Done():
			return
		case b := <-r.queue:
			e.roomAgain()
			hold := r.current()
			hold.Token = b.Token // of its fetch, not today's
			err := e.process(ctx, hold, b, cache, &suspects)
			if errors.Is(err, ErrFenced) {
				err = e.regain(ctx, r, b.Token, &cache, &suspects)
			}
			if err != nil && ctx.Err() != nil {
				return
			}
		}
	}
}

// roomAgain makes the fetch loop look again which partitions are paused: a
// queue has room, or a partition came or went.
func (e *engine[X]) roomAgain() {
	select {
	case e.space <- struct{}{}:
	default:
	}
}

// regain follows ErrFenced. A batch older than the token we hold is dropped.
// Else, as long as the broker says that the partition is ours, the token is
// acquired again (shared: the worker's own) and the broker asked to hand over
// anew what is not settled. No transaction of ours is open here, so Acquire
// waits for nobody who waits for us.
func (e *engine[X]) regain(ctx context.Context, r *runner, fenced Token, cache **rollCache, suspects *int) error {
	if fenced < r.current().Token {
		return nil
	}
	for try := 0; ; try++ {
		if err := e.pause(ctx, "fenced", ErrFenced, try); err != nil {
			return err
		}
		select {
		case <-r.quit: // no longer ours
			return nil
		default:
		}
		start, err := e.reacquire(ctx, r, cache, suspects)
		if err != nil {
			e.observe(Paused{"acquire", err, 0})
			continue
		}
		err = e.subscription().Restart(ctx, r.partition, start)
		if err == nil || errors.Is(err, ErrNotOwner) {
			return nil
		}
		e.observe(Paused{"restart", err, 0})
	}
}

func (e *engine[X]) reacquire(ctx context.Context, r *runner, cache **rollCache, suspects *int) (Start, error) {
	if !e.can.Exclusive {
		if own := e.ownHold(); own.Token > r.current().Token {
			r.raise(own.Token) // another partition of ours was first
			return Start{Token: own.Token}, nil
		}
		if err := e.acquireOwn(ctx); err != nil {
			return Start{}, err
		}
		r.raise(e.ownHold().Token)
		return Start{Token: e.ownHold().Token}, nil
	}
	got, err := e.store.Acquire(ctx, e.group, []Holder{r.current().Holder})
	if err != nil {
		return Start{}, err
	}
	r.raise(got[0].Token)
	roll, err := e.partitionRoll(ctx, Assignment{r.partition, r.incarnation})
	if err != nil {
		return Start{}, err
	}
	*suspects = e.suspectBudget(got[0])
	if roll != nil {
		*cache = newRollCache(roll.Scope)
		(*cache).rolls[roll.Scope] = roll
	}
	return startOf(roll, got[0].Token), nil
}

// load is the batch's table of rolls, without locks; what is not in the cache is
// read.
func (e *engine[X]) load(ctx context.Context, s *subject) ([]*interval.Set, error) {
	sets, missing := s.cache.table(s.scopes)
	if len(missing) == 0 {
		return sets, nil
	}
	err := e.retry(ctx, "rolls", func() error {
		rows, err := e.store.Rolls(ctx, e.group, missing)
		if err != nil {
			return err
		}
		rolls, err := openRolls(rows)
		if err != nil {
			return err
		}
		s.cache.learn(rolls)
		return nil
	})
	if err != nil {
		return nil, err
	}
	sets, _ = s.cache.table(s.scopes)
	return sets, nil
}
