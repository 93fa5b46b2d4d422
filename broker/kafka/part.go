package kafka

import (
	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
	"github.com/rollcall-mq/rollcall/internal/slab"
	"github.com/twmb/franz-go/pkg/kgo"
)

// part is one partition in our hands. Subscription.mu guards it.
type part struct {
	number  int32
	token   rollcall.Token
	session uint64 // of receipts

	next   int64 // the client reads on from here, nothing below comes again by itself; -1: from the beginning
	epoch  int32 // leader epoch of the message before next; -1: not known
	handed int64 // all below was handed over, or never comes
	lost   int64 // what of the offsets below was not handed over was removed, and accepted as lost
	buffer []*kgo.Record
	paused bool // the client does not read on

	letting bool          // it is being let go: nothing more is handed over
	gone    chan struct{} // closed when that begins

	settled   interval.Set // offsets + 1, those that never come too
	committed int64        // as Kafka was told last
}

// begin hands over from a place on, under a token.
func (p *part) begin(at place, token rollcall.Token, session uint64) {
	p.token, p.session = token, session
	p.next, p.epoch, p.handed, p.lost, p.buffer = at.next, -1, at.done, at.next, nil
	p.settled = interval.Set{}
	if at.done > 0 {
		p.settled.AddRange(1, uint64(at.done))
	}
}

// take hands over at most so many messages. Offsets between them that never come are
// covered: Kafka's markers, what was aborted or compacted.
func (p *part) take(partition rollcall.Partition, incarnation rollcall.Incarnation, most int) rollcall.Batch {
	b := rollcall.Batch{Partition: partition, Token: p.token, Deliveries: make([]rollcall.Delivery, 0, min(most, len(p.buffer)))}
	var t slab.Strings
	n := 0
	for _, r := range p.buffer {
		if len(b.Deliveries) == most && !r.Attrs.IsControl() {
			break
		}
		n++
		if r.Offset > p.handed {
			p.cover(&b, p.handed, r.Offset-1)
		}
		p.handed = r.Offset + 1
		if r.Attrs.IsControl() {
			p.cover(&b, r.Offset, r.Offset)
			continue
		}
		b.Deliveries = b.Deliveries[:len(b.Deliveries)+1] // in place: it is large
		d := &b.Deliveries[len(b.Deliveries)-1]
		d.Message = message(r, &t)
		d.Position = rollcall.Position{Incarnation: incarnation, Offset: r.Offset, LeaderEpoch: r.LeaderEpoch + 1}
		d.Receipt = rollcall.Receipt{Session: p.session, Number: uint64(r.Offset)}
	}
	clear(p.buffer[:n])
	p.buffer = p.buffer[n:]
	return b
}

// cover enters offsets that never come.
func (p *part) cover(b *rollcall.Batch, first, last int64) {
	p.settled.AddRange(uint64(first)+1, uint64(last)+1)
	if first < p.lost {
		gone := min(last, p.lost-1)
		b.Covered = append(b.Covered, rollcall.OffsetRange{First: first, Last: gone, Lost: true})
		first = gone + 1
	}
	if first > last {
		return
	}
	if n := len(b.Covered); n > 0 && !b.Covered[n-1].Lost && b.Covered[n-1].Last == first-1 {
		b.Covered[n-1].Last = last
		return
	}
	b.Covered = append(b.Covered, rollcall.OffsetRange{First: first, Last: last})
}

// floor is the offset to commit: everything below it is settled.
func (p *part) floor() int64 { return int64(p.settled.Floor()) }
