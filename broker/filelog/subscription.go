package filelog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// subscription is one member of a group. Three goroutines belong to it until
// Close: one that raises its heartbeat and waits for nothing else, one that
// balances, and for each call of the Owner one of its own.
type subscription struct {
	log          *Log
	group        string
	worker       string
	destinations []string
	owner        rollcall.Owner
	file         *memberFile
	assigning    callContext // of Owner.Assigned: ends when Close begins
	revoking     callContext // of Owner.Revoked: ends with Close

	mu     sync.Mutex
	slots  map[rollcall.Partition]*slot
	turn   int // where the next Fetch begins
	closed bool

	fetching sync.Mutex
	fetch    *conn // under fetching
	side     struct {
		sync.Mutex
		conn *conn // of Settle and Restart
	}
	balancer balancer
	woken    signal        // slots changed
	kick     chan struct{} // capacity 1: balance now
	stop     chan struct{}
	loops    sync.WaitGroup
	calls    sync.WaitGroup // calls of the Owner
	beating  chan struct{}  // closed to end the heartbeat
	beats    sync.WaitGroup
	once     sync.Once
	closeErr error
}

// callContext carries what the subscriber's context carried, without its end.
type callContext struct {
	context.Context
	cancel context.CancelFunc
}

func newCallContext(ctx context.Context) callContext {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	return callContext{ctx, cancel}
}

var _ rollcall.Subscription = (*subscription)(nil)

// Subscribe joins the group as a new member; ctx bounds only the joining.
// Destinations that do not exist are created (ErrNoDestination under NoCreate).
// Calls of the owner for different partitions may run side by side; those of
// one partition come one after the other, except that Lost may come while
// Revoked still runs.
func (s *Source) Subscribe(ctx context.Context, request rollcall.SubscribeRequest, owner rollcall.Owner) (rollcall.Subscription, error) {
	l := s.log
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	if request.Group == "" || len(s.destinations) == 0 || owner == nil {
		return nil, fmt.Errorf("%w: filelog: a subscription needs a group, a destination and an owner", rollcall.ErrConfig)
	}
	for _, d := range s.destinations {
		if err := l.ensure(ctx, d); err != nil {
			return nil, err
		}
	}
	file, err := newMemberFile(l.members())
	if err != nil {
		return nil, fmt.Errorf("filelog: join group %q: %w; the folder %s must be writable", request.Group, err, l.members())
	}
	sub := &subscription{
		log: l, group: request.Group, worker: request.Worker, destinations: s.destinations, owner: owner, file: file,
		slots: make(map[rollcall.Partition]*slot), kick: make(chan struct{}, 1), stop: make(chan struct{}), beating: make(chan struct{}),
	}
	sub.assigning, sub.revoking = newCallContext(ctx), newCallContext(ctx)
	sub.woken.init()
	if err := sub.join(); err != nil {
		sub.assigning.cancel()
		sub.revoking.cancel()
		return nil, errors.Join(l.explain("join group "+request.Group, err), file.remove(), sub.closeConns())
	}
	l.subs.Add(1)
	sub.beats.Go(sub.heartbeat)
	sub.loops.Go(sub.balanceLoop)
	return sub, nil
}

// join adds the member, and clears away what dead processes left.
func (s *subscription) join() error {
	var err error
	if s.fetch, err = s.log.connect(); err != nil {
		return err
	}
	if s.side.conn, err = s.log.connect(); err != nil {
		return err
	}
	if s.balancer.conn, err = s.log.connect(); err != nil {
		return err
	}
	dir := s.log.members()
	files, err := strays(dir)
	if err != nil {
		return err
	}
	err = s.log.write(func(c *conn) error {
		gone, err := goneMembers(c, dir)
		if err != nil {
			return err
		}
		if err := dropMembers(c, gone); err != nil {
			return err
		}
		return addMember(c, s.group, s.file.uid, s.worker, s.destinations)
	})
	if err != nil {
		return err
	}
	for _, uid := range files {
		_ = os.Remove(memberPath(dir, uid)) // else the next one clears it
	}
	return nil
}

// goneMembers are those of all groups whose process is gone.
func goneMembers(c *conn, dir string) ([]string, error) {
	var gone []string
	err := c.rows(`SELECT uid FROM members`, nil, func(r *sql.Rows) (bool, error) {
		var uid []byte
		if err := scan(r, &uid); err != nil {
			return false, err
		}
		if _, dead := probe(dir, string(uid)); dead {
			gone = append(gone, string(uid))
		}
		return true, nil
	})
	return gone, err
}

// heartbeat waits for nothing but its clock: neither a slow drain nor a busy
// disk may make a living member look stopped.
func (s *subscription) heartbeat() {
	tick := time.NewTicker(s.log.config.Lease / 10)
	defer tick.Stop()
	for {
		select {
		case <-s.beating:
			return
		case <-tick.C:
			if err := s.file.raise(); err != nil {
				s.log.config.OnError(fmt.Errorf("filelog: heartbeat %s: %w", s.file.path, err))
			}
		}
	}
}

func (s *subscription) balanceNow() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Close leaves the group: it calls Revoked for what is owned, gives the leases
// back and removes the member. When ctx ends first it leaves all the same and
// returns the error of ctx; calls of the owner may still be running then.
func (s *subscription) Close(ctx context.Context) error {
	s.once.Do(func() { s.closeErr = s.leave(ctx) })
	return s.closeErr
}

func (s *subscription) leave(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.woken.raise()
	close(s.stop)
	s.loops.Wait()
	s.assigning.cancel() // an Assigned that waits for the store is given up
	err := waitFor(ctx, &s.calls)
	if err == nil {
		err = s.revokeRest(ctx)
	}
	s.mu.Lock()
	slots := make([]*slot, 0, len(s.slots))
	for _, sl := range s.slots {
		slots = append(slots, sl)
	}
	s.mu.Unlock()
	werr := s.log.write(func(c *conn) error {
		if err := s.storeSettled(c, slots); err != nil {
			return err
		}
		return dropMembers(c, []string{s.file.uid})
	})
	s.mu.Lock()
	clear(s.slots)
	s.mu.Unlock()
	close(s.beating)
	s.beats.Wait()
	// Without the file others see that we are gone even if the write failed.
	err = errors.Join(err, s.log.explain("leave group "+s.group, werr), s.file.remove(), s.closeConns())
	s.revoking.cancel()
	s.log.subs.Add(-1)
	return err
}

// revokeRest is the last Revoked, of all that is owned.
func (s *subscription) revokeRest(ctx context.Context) error {
	s.mu.Lock()
	var rest []*slot
	for _, sl := range s.slots {
		if sl.state == slotOwned {
			sl.state = slotRevoking
			rest = append(rest, sl)
		}
	}
	s.mu.Unlock()
	if len(rest) == 0 {
		return nil
	}
	s.calls.Go(func() { s.owner.Revoked(ctx, partitionsOf(rest)) })
	return waitFor(ctx, &s.calls)
}

// waitFor waits for a group, no longer than ctx.
func waitFor(ctx context.Context, group *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		select {
		case <-done:
			return nil
		default:
			return fmt.Errorf("filelog: close: the owner still drains: %w", context.Cause(ctx))
		}
	}
}

func (s *subscription) closeConns() error {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	s.side.Lock()
	defer s.side.Unlock()
	var errs []error
	for _, c := range []**conn{&s.fetch, &s.side.conn, &s.balancer.conn} {
		if *c != nil {
			errs = append(errs, (*c).close())
			*c = nil
		}
	}
	return errors.Join(errs...)
}

func partitionsOf(slots []*slot) []rollcall.Partition {
	out := make([]rollcall.Partition, len(slots))
	for i, s := range slots {
		out[i] = s.partition
	}
	slices.SortFunc(out, comparePartitions)
	return out
}

func comparePartitions(a, b rollcall.Partition) int {
	if a.Destination != b.Destination {
		if a.Destination < b.Destination {
			return -1
		}
		return 1
	}
	return int(a.Number) - int(b.Number)
}
