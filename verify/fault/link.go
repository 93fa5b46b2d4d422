package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Request is a line from a child. Every one is answered, but for a child that
// is killed where it stands.
type Request struct {
	ID     uint64        `json:"id"`
	Op     string        `json:"op"` // "at", or an operation of Services
	Fault  int           `json:"fault,omitempty"`
	Step   string        `json:"step,omitempty"`
	Orders []string      `json:"orders,omitempty"`
	Key    string        `json:"key,omitempty"`
	Value  string        `json:"value,omitempty"`
	TTL    time.Duration `json:"ttl,omitempty"`
}

// Reply is the answer.
type Reply struct {
	ID    uint64 `json:"id"`
	OK    bool   `json:"ok"`
	Value string `json:"value,omitempty"`
}

// Link is a child's line to the process that started it.
type Link struct {
	mu      sync.Mutex
	out     *json.Encoder
	last    uint64
	waiting map[uint64]chan Reply
}

// NewLink talks over a child's stdin and stdout. gone is called when the
// other end is closed: the parent has died, and so must we.
func NewLink(in io.Reader, out io.Writer, gone func()) *Link {
	l := &Link{out: json.NewEncoder(out), waiting: make(map[uint64]chan Reply)}
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			var r Reply
			if json.Unmarshal(lines.Bytes(), &r) != nil {
				break
			}
			l.mu.Lock()
			answer := l.waiting[r.ID]
			delete(l.waiting, r.ID)
			l.mu.Unlock()
			if answer != nil {
				answer <- r
			}
		}
		gone()
	}()
	return l
}

// Ask sends a request and waits for its answer.
func (l *Link) Ask(ctx context.Context, r Request) (Reply, error) {
	answer := make(chan Reply, 1)
	l.mu.Lock()
	l.last++
	r.ID = l.last
	l.waiting[r.ID] = answer
	err := l.out.Encode(r)
	l.mu.Unlock()
	if err != nil {
		return Reply{}, fmt.Errorf("fault: tell the parent: %w", err)
	}
	select {
	case reply := <-answer:
		return reply, nil
	case <-ctx.Done():
		return Reply{}, context.Cause(ctx)
	}
}

// What a step returns whose fault is a lost connection. But for ErrCommitLost
// the work is done all the same.
var (
	ErrReplyLost  = errors.New("the connection broke before the answer to COMMIT came")
	ErrCommitLost = errors.New("the connection broke before the COMMIT")
	ErrAckLost    = errors.New("the ack was lost")
)

// Injector stops a child at the steps of its faults. It is safe for
// concurrent use.
type Injector struct {
	link   *Link
	faults []Fault

	mu   sync.Mutex
	left []int
}

// NewInjector watches for those faults that are left, by their number.
func NewInjector(link *Link, faults []Fault, left []int) *Injector {
	return &Injector{link: link, faults: faults, left: slices.Clone(left)}
}

// At is a step with the orders in hand. Where a fault is due it tells the
// parent and waits: to be killed, or to be told to go on.
func (in *Injector) At(ctx context.Context, moment Moment, orders ...string) error {
	n, due := in.take(moment, orders)
	if !due {
		return nil
	}
	if _, err := in.link.Ask(ctx, Request{Op: "at", Fault: n, Step: string(moment), Orders: orders}); err != nil {
		return err
	}
	switch in.faults[n].Kind {
	case ReplyLost:
		return ErrReplyLost
	case CommitLost:
		return ErrCommitLost
	case AckLost:
		return ErrAckLost
	}
	return nil
}

func (in *Injector) take(moment Moment, orders []string) (int, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i, n := range in.left {
		if f := in.faults[n]; f.Moment == moment && slices.Contains(orders, f.Order) {
			in.left = slices.Delete(in.left, i, i+1)
			return n, true
		}
	}
	return 0, false
}
