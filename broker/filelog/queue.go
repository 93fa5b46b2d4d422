package filelog

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/rollcall-mq/rollcall"
)

// request is one call of Publish on its way to the committer.
type request struct {
	destination string
	entries     []entry
	bytes       int
	answers     []rollcall.PublishResult // written by the committer before done
	done        chan struct{}
}

// entry is one message, encoded by the caller's goroutine.
type entry struct {
	index   int // in the call's messages
	number  int32
	payload []byte
}

func (l *Log) newRequest(destination string, messages []rollcall.Message, results []rollcall.PublishResult) *request {
	r := &request{destination: destination, entries: make([]entry, 0, len(messages)), done: make(chan struct{})}
	room := 0
	for i := range messages {
		room += payloadRoom(&messages[i])
	}
	buf := make([]byte, 0, room)
	for i := range messages {
		m := &messages[i]
		if n := messageBytes(m); n > l.config.MaxBytes {
			err := fmt.Errorf("%w: %d bytes, the limit is %d; send less, or raise filelog.Config.MaxBytes", rollcall.ErrTooLarge, n, l.config.MaxBytes)
			results[i] = rollcall.PublishResult{Fate: rollcall.Refused, Err: err}
			continue
		}
		sent := m.Time
		if sent.IsZero() {
			sent = l.config.now()
		}
		start := len(buf)
		buf = appendPayload(buf, m, sent)
		r.entries = append(r.entries, entry{i, m.Partition, buf[start:len(buf):len(buf)]})
	}
	r.bytes = len(buf)
	return r
}

func (r *request) answerAll(results []rollcall.PublishResult, with rollcall.PublishResult) {
	for _, e := range r.entries {
		results[e.index] = with
	}
}

// fail answers every message of a request.
func (r *request) fail(fate rollcall.Fate, err error) {
	r.answers = fill(make([]rollcall.PublishResult, len(r.entries)), rollcall.PublishResult{Fate: fate, Err: err})
}

// queue is what waits for the committer. It holds at most one request for each
// caller, who is blocked meanwhile, so it needs no other bound.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	closed  bool
	more    chan struct{} // capacity 1
	taken   atomic.Int64  // groups taken, each one commit
}

func (q *queue) init() { q.more = make(chan struct{}, 1) }

// put reports false when the queue is closed.
func (q *queue) put(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.waiting = append(q.waiting, r)
	q.wake()
	return true
}

// close returns what still waits.
func (q *queue) close() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := q.waiting
	q.waiting, q.closed = nil, true
	return rest
}

func (q *queue) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// remove takes a request back, and reports whether it was still waiting.
func (q *queue) remove(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, w := range q.waiting {
		if w == r {
			q.waiting = append(q.waiting[:i:i], q.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// take returns the oldest requests, up to a size and at least one.
func (q *queue) take(bytes int) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) && (n == 0 || size+q.waiting[n].bytes <= bytes) {
		size += q.waiting[n].bytes
		n++
	}
	if n > 0 {
		q.taken.Add(1)
	}
	out := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	if len(q.waiting) > 0 {
		q.wake()
	}
	return out
}
