package filelog

import (
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// slotState is where a partition stands between the lease and the owner. It
// goes forward only; a partition that comes again gets a new slot.
type slotState uint8

const (
	slotAssigning slotState = iota // Owner.Assigned is running
	slotOwned                      // Fetch reads it
	slotRevoking                   // Owner.Revoked is running; receipts are still good
	slotLosing                     // Owner.Lost is running
	slotLeaving                    // the lease is to be given back
)

// slot is one partition of a subscription, from taking the lease to giving it
// back or losing it. The subscription's mutex guards it.
type slot struct {
	partition   rollcall.Partition
	part        int64 // id of the partition
	incarnation rollcall.Incarnation
	generation  uint64 // of the lease
	state       slotState
	stolen      bool // somebody else has the lease

	token     rollcall.Token
	restarts  uint64
	epoch     uint64 // raised whenever what a running Fetch has read must be dropped
	next      int64  // offset to hand over next
	pending   []rollcall.Delivery
	notBefore time.Time // of RetryAfter
	failed    error     // why it is not consumed
	told      time.Time // when Fetch last returned failed

	acked interval.Set // offset + 1
	dirty bool         // acked moved since it was stored
}

const restartBits = 20

// session is what receipts carry: another one after each assignment and
// Restart. Generations only rise, so none comes again.
func (s *slot) session() uint64 { return s.generation<<restartBits | s.restarts&(1<<restartBits-1) }

// live reports whether receipts are good.
func (s *slot) live() bool { return s.state == slotOwned || s.state == slotRevoking }

// start begins to consume at an offset.
func (s *slot) start(token rollcall.Token, next int64) {
	s.token, s.next, s.failed, s.pending, s.notBefore = token, next, nil, nil, time.Time{}
	s.epoch++
	if next > 0 {
		s.acked.AddRange(1, uint64(next))
	}
}

// refuse stops consuming until the next start.
func (s *slot) refuse(token rollcall.Token, err error) {
	s.token, s.failed, s.pending, s.told = token, err, nil, time.Time{}
	s.epoch++
}

// rewind hands over again from an offset on.
func (s *slot) rewind(offset int64, notBefore time.Time) {
	if offset < s.next {
		s.next, s.pending = offset, nil
		s.epoch++
	}
	if notBefore.After(s.notBefore) {
		s.notBefore = notBefore
	}
}

// startAt checks a position against what the partition holds and returns the
// offset to begin at. What retention removed is begun after: the hole shows in
// the group's roll.
func (l *Log) startAt(p *part, at rollcall.Position) (int64, error) {
	switch {
	case at.IsZero():
		return p.first, nil
	case at.Incarnation != p.incarnation:
		return 0, fmt.Errorf("filelog: %s: %s: the position is of incarnation %x, the destination is of %x: it was deleted and created again; "+
			"start it from the earliest message on purpose, or use another group", l.path, p.where(), at.Incarnation, p.incarnation)
	case at.Offset > p.end:
		return 0, l.damaged(p.where(), fmt.Sprintf("position %d lies beyond the end %d: the log was restored from an older copy or truncated", at.Offset, p.end),
			"restore the log and the store from backups of one time, or start this group from a position on purpose")
	case at.Offset < 0:
		return 0, fmt.Errorf("%w: filelog: %s: position %d; offsets begin at 0", rollcall.ErrConfig, p.where(), at.Offset)
	}
	return max(at.Offset, p.first), nil
}
