package filelog

import (
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/backoff"
)

// balancer is what the balancing goroutine remembers between its rounds.
type balancer struct {
	conn    *conn
	watched map[string]watched
	looked  time.Time
	failed  map[rollcall.Partition]setback // of Assigned
	settled time.Time
	told    time.Time
}

// watched is the heartbeat of another member as it was last seen to change.
type watched struct {
	beat  uint64
	still time.Duration // how long we have watched it stand still
}

// setback is when a partition whose Assigned failed may be tried again.
type setback struct {
	tries int
	until time.Time
}

func (s *subscription) tick() time.Duration { return min(s.log.config.Lease/10, 50*time.Millisecond) }

func (s *subscription) balanceLoop() {
	s.balancer.watched = make(map[string]watched)
	s.balancer.failed = make(map[rollcall.Partition]setback)
	tick := time.NewTicker(s.tick())
	defer tick.Stop()
	for {
		if err := s.balance(); err != nil && time.Since(s.balancer.told) > time.Second {
			s.balancer.told = time.Now()
			s.log.config.OnError(s.log.explain("balance group "+s.group, err))
		}
		select {
		case <-s.stop:
			return
		case <-tick.C:
		case <-s.kick:
		}
	}
}

// scene is a group as one read transaction shows it.
type scene struct {
	parts  map[rollcall.Partition]part
	totals map[string]int
	leases map[int64]lease
	peers  []peer
}

func (s *subscription) look() (*scene, error) {
	out := &scene{parts: make(map[rollcall.Partition]part), totals: make(map[string]int)}
	err := s.log.readView(s.balancer.conn, s.group, func(v *view) (err error) {
		for _, d := range s.destinations {
			for _, p := range v.parts[d] {
				out.parts[p.partition()] = *p
			}
			out.totals[d] = len(v.parts[d])
		}
		out.leases = v.leases
		out.peers, err = readPeers(s.balancer.conn, s.group)
		return err
	})
	return out, err
}

// balance is one round: what is lost, who is gone, what is too much, what is
// missing.
func (s *subscription) balance() error {
	sc, err := s.look()
	if err != nil {
		s.balancer.conn = s.log.replaced(s.balancer.conn, err)
		return err
	}
	s.dropLost(sc)
	dead := s.deadPeers(sc.peers)
	live := slices.DeleteFunc(slices.Clone(sc.peers), func(p peer) bool { return slices.Contains(dead, p.uid) })
	member := slices.ContainsFunc(live, func(p peer) bool { return p.uid == s.file.uid })
	var wanted []part
	if member {
		wanted = s.compareShares(sc, live)
	}
	leaving, settled := s.toWrite()
	if member && len(dead)+len(wanted)+len(leaving)+len(settled) == 0 {
		return nil
	}
	taken, err := s.writeRound(member, dead, wanted, leaving, settled)
	if err != nil {
		return err
	}
	for _, uid := range dead {
		if _, gone := probe(s.log.members(), uid); gone {
			_ = os.Remove(memberPath(s.log.members(), uid)) // else the next to join clears it
		}
	}
	s.assign(taken)
	return nil
}

// deadPeers are the members whose process is gone, or whose heartbeat stood
// still for a lease while we watched. Time in which we did not run counts for
// at most two rounds: a process that was stopped itself must not blame others.
func (s *subscription) deadPeers(peers []peer) []string {
	b := &s.balancer
	now := time.Now()
	passed := min(now.Sub(b.looked), 2*s.tick())
	b.looked = now
	var dead []string
	seen := make(map[string]watched, len(peers))
	for _, p := range peers {
		if p.uid == s.file.uid {
			continue
		}
		beat, gone := probe(s.log.members(), p.uid)
		w, known := b.watched[p.uid]
		if !known || w.beat != beat {
			w = watched{beat: beat}
		} else {
			w.still += passed
		}
		seen[p.uid] = w
		if gone || w.still > s.log.config.Lease {
			dead = append(dead, p.uid)
		}
	}
	b.watched = seen
	return dead
}

// stillDead leaves out who woke before we had the write lock.
func (s *subscription) stillDead(dead []string) []string {
	return slices.DeleteFunc(slices.Clone(dead), func(uid string) bool {
		beat, gone := probe(s.log.members(), uid)
		return !gone && beat != s.balancer.watched[uid].beat
	})
}

// dropLost looks for partitions whose lease is another's, or that are gone.
func (s *subscription) dropLost(sc *scene) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lost []*slot
	for _, sl := range s.slots {
		p, there := sc.parts[sl.partition]
		ours := there && p.id == sl.part && p.incarnation == sl.incarnation &&
			sc.leases[sl.part] == lease{s.file.uid, sl.generation}
		if ours || sl.stolen {
			continue
		}
		sl.stolen = true
		sl.epoch++
		switch sl.state {
		case slotOwned:
			sl.state = slotLosing
			lost = append(lost, sl)
		case slotRevoking: // it drains in vain: say so at once
			parts := []rollcall.Partition{sl.partition}
			s.calls.Go(func() { s.owner.Lost(parts) })
		case slotLeaving:
			delete(s.slots, sl.partition)
		}
	}
	s.lose(lost)
}

// lose tells the owner. The slots are in slotLosing and the mutex is held.
func (s *subscription) lose(lost []*slot) {
	if len(lost) == 0 {
		return
	}
	s.calls.Go(func() {
		s.owner.Lost(partitionsOf(lost))
		s.forget(lost)
	})
}

func (s *subscription) forget(slots []*slot) {
	s.mu.Lock()
	for _, sl := range slots {
		delete(s.slots, sl.partition)
	}
	s.mu.Unlock()
	s.balanceNow()
}

// compareShares revokes what is more than our share of each destination and
// returns free partitions up to it.
func (s *subscription) compareShares(sc *scene, live []peer) (wanted []part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var surplus []*slot
	for _, d := range s.destinations {
		share := fairShare(live, d, s.file.uid, sc.totals[d])
		mine := s.held(d)
		if len(mine) > share {
			surplus = append(surplus, mine[share:]...)
		} else {
			wanted = append(wanted, s.vacant(sc, d, live, share-len(mine))...)
		}
	}
	s.revoke(surplus)
	return wanted
}

// held are the partitions of a destination that we have and mean to keep.
// Those that are still being assigned come last: they are given away first,
// once their Assigned has returned.
func (s *subscription) held(destination string) []*slot {
	var out []*slot
	for _, sl := range s.slots {
		if sl.partition.Destination == destination && (sl.state == slotOwned || sl.state == slotAssigning) {
			out = append(out, sl)
		}
	}
	slices.SortFunc(out, func(a, b *slot) int {
		if a.state != b.state {
			return int(b.state) - int(a.state)
		}
		return int(a.partition.Number) - int(b.partition.Number)
	})
	return out
}

// vacant are up to n partitions that nobody alive has.
func (s *subscription) vacant(sc *scene, destination string, live []peer, n int) []part {
	var out []part
	for i := range int32(sc.totals[destination]) {
		if len(out) == n {
			break
		}
		p := sc.parts[rollcall.Partition{Destination: destination, Number: i}]
		held := slices.ContainsFunc(live, func(o peer) bool { return o.uid == sc.leases[p.id].member })
		if s.slots[p.partition()] != nil || held {
			continue
		}
		if time.Now().Before(s.balancer.failed[p.partition()].until) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// revoke asks the owner to drain, on a goroutine of its own. The mutex is held.
func (s *subscription) revoke(surplus []*slot) {
	surplus = slices.DeleteFunc(surplus, func(sl *slot) bool { return sl.state != slotOwned })
	if len(surplus) == 0 {
		return
	}
	for _, sl := range surplus {
		sl.state = slotRevoking
		sl.epoch++
	}
	s.calls.Go(func() {
		s.owner.Revoked(s.revoking, partitionsOf(surplus))
		s.mu.Lock()
		for _, sl := range surplus {
			if sl.stolen {
				delete(s.slots, sl.partition)
			}
			sl.state = slotLeaving
		}
		s.mu.Unlock()
		s.balanceNow()
	})
}

// toWrite are the slots whose lease goes back, and those whose settled offsets
// are due to be stored.
func (s *subscription) toWrite() (leaving, settled []*slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := time.Since(s.balancer.settled) > time.Second
	for _, sl := range s.slots {
		if sl.state == slotLeaving {
			leaving = append(leaving, sl)
		}
		if sl.dirty && (due || sl.state == slotLeaving) {
			settled = append(settled, sl)
		}
	}
	return leaving, settled
}

// writeRound writes one round's changes in one transaction and returns the
// slots of the partitions that we have now.
func (s *subscription) writeRound(member bool, dead []string, wanted []part, leaving, settled []*slot) ([]*slot, error) {
	var taken []*slot
	err := s.log.write(func(c *conn) error {
		if !member {
			if err := addMember(c, s.group, s.file.uid, s.worker, s.destinations); err != nil {
				return err
			}
		}
		if err := dropMembers(c, s.stillDead(dead)); err != nil {
			return err
		}
		if err := s.storeSettled(c, settled); err != nil {
			return err
		}
		for _, sl := range leaving {
			if err := giveLease(c, s.group, sl.part, s.file.uid, sl.generation); err != nil {
				return err
			}
		}
		for _, p := range wanted {
			generation, ok, err := takeLease(c, s.group, p.id, s.file.uid)
			if err != nil {
				return err
			}
			if ok {
				taken = append(taken, &slot{partition: p.partition(), part: p.id, incarnation: p.incarnation, generation: generation})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(settled) > 0 {
		s.balancer.settled = time.Now()
	}
	if len(leaving) > 0 {
		s.forget(leaving)
	}
	s.log.changed.raise() // other members of this process look at once
	return taken, nil
}

// assign asks the owner where to start, on a goroutine of its own.
func (s *subscription) assign(taken []*slot) {
	if len(taken) == 0 {
		return
	}
	assignments := make([]rollcall.Assignment, len(taken))
	s.mu.Lock()
	for i, sl := range taken {
		assignments[i] = rollcall.Assignment{Partition: sl.partition, Incarnation: sl.incarnation}
		s.slots[sl.partition] = sl
	}
	s.mu.Unlock()
	s.calls.Go(func() {
		starts, err := s.owner.Assigned(s.assigning, assignments)
		if err == nil && len(starts) != len(taken) {
			err = fmt.Errorf("the owner returned %d starts for %d partitions", len(starts), len(taken))
		}
		if err != nil {
			s.log.config.OnError(fmt.Errorf("filelog: group %q: partitions given back, tried again soon: %w", s.group, err))
			s.unassign(taken)
			return
		}
		s.begin(taken, starts)
	})
}

// unassign gives back what the owner could not take.
func (s *subscription) unassign(taken []*slot) {
	s.mu.Lock()
	for _, sl := range taken {
		sl.state = slotLeaving
		if sl.stolen {
			delete(s.slots, sl.partition)
		}
		f := s.balancer.failed[sl.partition]
		f.until = time.Now().Add(backoff.Delay(f.tries, 100*time.Millisecond, 5*time.Second))
		f.tries = min(f.tries+1, math.MaxInt8)
		s.balancer.failed[sl.partition] = f
	}
	s.mu.Unlock()
	s.balanceNow()
}

// begin starts to consume what the owner took.
func (s *subscription) begin(taken []*slot, starts []rollcall.Start) {
	next, errs := make([]int64, len(taken)), make([]error, len(taken))
	for i, sl := range taken {
		next[i], errs[i] = s.locate(sl, starts[i].Position)
	}
	s.mu.Lock()
	for i, sl := range taken {
		if errs[i] != nil {
			sl.refuse(starts[i].Token, errs[i])
		} else {
			sl.start(starts[i].Token, next[i])
		}
		sl.state = slotOwned
		delete(s.balancer.failed, sl.partition)
		if sl.stolen {
			sl.state = slotLosing
			s.lose([]*slot{sl})
		}
	}
	s.mu.Unlock()
	s.woken.raise()
}
