package rollcall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall/internal/backoff"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
	"github.com/rollcall-mq/rollcall/internal/uid"
)

// PublisherConfig is the settings of a Publisher. The zero value is safe.
type PublisherConfig struct {
	// Batch is the most messages handed to the broker at once. Default: 1000.
	Batch int
	// Buffer is how many messages may wait to be sent; past it Send blocks.
	// Default: 10,000.
	Buffer int
	// Clock is where time comes from. Default: the system's.
	Clock Clock
	// RetryFirst is the wait before a message whose fate is Unknown is sent
	// again, with the same id and stamp; it doubles. Default: 50 ms.
	RetryFirst time.Duration
	// RetryMost is the longest such wait. Default: 2 s.
	RetryMost time.Duration
	// Timeout is how long a message is tried before its fate is reported as
	// Unknown. Default: 30 s.
	Timeout time.Duration
	// Books are what the publisher writes down of its numbers. Default: see BooksConfig.
	Books BooksConfig
	// Observer is told when books cannot be written. Default:
	// SlogObserver(slog.Default()).
	Observer Observer
}

// Publisher sends messages: lane first, then stamp, then send, confirmed
// always. It retries with the same id and stamp, so that what was stored twice
// takes effect once. Its life is minted when it is made and ends with it. It
// is safe for concurrent use; messages of one destination are stamped and sent
// in the order of the calls.
type Publisher struct {
	sender Sender
	config PublisherConfig
	life   Life
	room   chan struct{} // a token for each message that waits
	books  *bookkeeper

	mu     sync.Mutex
	routes map[string]*route
	closed bool
	stop   context.CancelFunc
	alive  context.Context
	loops  sync.WaitGroup
}

// NewPublisher makes a publisher with a new life.
func NewPublisher(sender Sender, config PublisherConfig) *Publisher {
	config.Batch = orDefault(config.Batch, 1000)
	config.Buffer = orDefault(config.Buffer, 10_000)
	config.RetryFirst = orDefault(config.RetryFirst, 50*time.Millisecond)
	config.RetryMost = orDefault(config.RetryMost, 2*time.Second)
	config.Timeout = orDefault(config.Timeout, 30*time.Second)
	if config.Clock == nil {
		config.Clock = systemClock{}
	}
	if config.Observer == nil {
		config.Observer = SlogObserver(slog.Default())
	}
	if most := sender.Capabilities().MaxBatch; most > 0 {
		config.Batch = min(config.Batch, most)
	}
	p := &Publisher{sender: sender, config: config, life: NewLife(), routes: make(map[string]*route),
		room: make(chan struct{}, config.Buffer)}
	p.books = newBookkeeper(sender, config.Books, config.Clock, config.Observer, p.life)
	p.alive, p.stop = context.WithCancel(context.Background())
	return p
}

// Life is the publisher's life.
func (p *Publisher) Life() Life { return p.life }

// Publish sends messages to a destination and waits for the fate of each, in
// order. When ctx ends first the fate is Unknown: it may still be sent; what was
// not even buffered by then is Refused.
func (p *Publisher) Publish(ctx context.Context, destination string, messages ...Message) []PublishResult {
	results := make([]PublishResult, len(messages))
	var left sync.WaitGroup
	var mu sync.Mutex
	expired := false
	for i, m := range messages {
		left.Add(1)
		err := p.Send(ctx, destination, m, func(r PublishResult) {
			mu.Lock()
			if !expired {
				results[i] = r
			}
			mu.Unlock()
			left.Done()
		})
		if err != nil {
			results[i] = PublishResult{Fate: Refused, Err: err}
			left.Done()
		}
	}
	done := make(chan struct{})
	go func() { left.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		mu.Lock()
		expired = true
		for i := range results {
			if results[i] == (PublishResult{}) {
				results[i] = PublishResult{Fate: Unknown, Err: fmt.Errorf("%w: %w", ErrInDoubt, context.Cause(ctx))}
			}
		}
		mu.Unlock()
	}
	return results
}

// Send buffers one message and returns; done is called once with its fate. It
// blocks while the buffer is full. An error means that the message was not
// taken: it is surely not sent, has no number, and done is not called. A
// message that is stamped already keeps its stamp: that is for relays, bridges
// and files, whose numbers were made durable before.
func (p *Publisher) Send(ctx context.Context, destination string, m Message, done func(PublishResult)) error {
	if err := p.tooLarge(&m); err != nil {
		return err
	}
	r, err := p.route(ctx, destination)
	if err != nil {
		return err
	}
	select {
	case p.room <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("rollcall: publish to %q: the buffer of %d messages is full, nothing was sent: %w", destination, p.config.Buffer, context.Cause(ctx))
	case <-p.alive.Done():
		return ErrClosed
	}
	if !r.add(p, m, done) {
		<-p.room
		return ErrClosed
	}
	return nil
}

// tooLarge refuses before there is a number, so that none is burnt.
func (p *Publisher) tooLarge(m *Message) error {
	most := p.sender.Capabilities().MaxBytes
	if size := m.Size() + MaxStampSize; most > 0 && size > most {
		return fmt.Errorf("%w: message %q takes %d bytes with its headers and stamp, the broker takes %d; split it or raise the broker's limit", ErrTooLarge, m.ID, size, most)
	}
	return nil
}

// Flush waits until everything sent so far has its fate.
func (p *Publisher) Flush(ctx context.Context) error {
	p.mu.Lock()
	routes := make([]*route, 0, len(p.routes))
	for _, r := range p.routes {
		routes = append(routes, r)
	}
	p.mu.Unlock()
	for _, r := range routes {
		if err := r.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close takes no more messages, flushes, and ends the life. When ctx ends
// first, what has no fate yet is Unknown and its error says so. The last record
// of the books is written within ctx, and five seconds. The Sender stays open.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.Flush(ctx)
	p.stop()
	p.loops.Wait()
	p.books.close(ctx)
	return err
}

func (p *Publisher) route(ctx context.Context, destination string) (*route, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if r := p.routes[destination]; r != nil {
		return r, nil
	}
	lanes, err := p.sender.Lanes(ctx, destination)
	if err != nil {
		return nil, err
	}
	r := &route{destination: destination, stamper: newStamper(p.life, destination, lanes), wake: make(chan struct{}, 1)}
	r.idle = sync.NewCond(&r.mu)
	p.routes[destination] = r
	p.loops.Go(func() { p.sendLoop(r) })
	return r, nil
}

// sendLoop sends what waits for one destination, one batch after the other: a
// later message never overtakes one that is being retried.
func (p *Publisher) sendLoop(r *route) {
	for {
		batch := r.take(p.config.Batch)
		if len(batch) == 0 {
			select {
			case <-r.wake:
				continue
			case <-p.alive.Done():
				r.abandon(p)
				return
			}
		}
		p.sendBatch(r, batch)
	}
}

// sendBatch sends until every message of the batch has a fate.
func (p *Publisher) sendBatch(r *route, batch []*outgoing) {
	p.openBooks(r, batch)
	for try := 0; len(batch) > 0; try++ {
		if try > 0 {
			_ = p.config.Clock.Sleep(p.alive, backoff.Delay(try-1, p.config.RetryFirst, p.config.RetryMost))
		}
		messages := make([]Message, len(batch))
		for i, o := range batch {
			messages[i] = o.message
		}
		ctx, cancel := context.WithDeadline(p.alive, batch[0].deadline)
		results := p.sender.Publish(ctx, r.destination, messages)
		if err := failpoint.Hit(p.alive, "published", len(batch)); err != nil {
			results = make([]PublishResult, len(batch)) // the answer is lost
		}
		cancel()
		batch = p.judge(r, batch, results)
	}
}

// openBooks before the first message of a destination is handed over.
func (p *Publisher) openBooks(r *route, batch []*outgoing) {
	own := slices.ContainsFunc(batch, func(o *outgoing) bool { return o.message.Stamp.Life == p.life })
	switch {
	case own && !r.opened:
		r.opened = true
		p.books.open(p.life, r.destination, r.stamper.lanes, r.given)
	case !own:
		p.books.open(batch[0].message.Stamp.Life, r.destination, r.stamper.lanes, nil)
	}
}

// judge reports what has a fate and returns what is to be sent again.
func (p *Publisher) judge(r *route, batch []*outgoing, results []PublishResult) []*outgoing {
	var again, over []*outgoing
	now := p.config.Clock.Now()
	for i, o := range batch {
		result := PublishResult{Fate: Unknown, Err: errors.New("rollcall: the driver gave no result")}
		if i < len(results) {
			result = results[i]
		}
		if result.Fate == Unknown {
			o.doubt = o.doubt || !errors.Is(result.Err, ErrTryAgain)
			if now.Before(o.deadline) && p.alive.Err() == nil {
				again = append(again, o)
				continue
			}
			result.Err = fmt.Errorf("%w: message %q may be stored; sent again with the same stamp it is absorbed: %w", ErrInDoubt, o.message.ID, orUnknown(result.Err))
		}
		o.result = result
		over = append(over, o)
	}
	p.noteFates(r, over)
	for _, o := range over {
		r.finish(p, o, o.result)
	}
	return again
}

// noteFates in the books, before anybody is told.
func (p *Publisher) noteFates(r *route, over []*outgoing) {
	if p.books == nil || len(over) == 0 {
		return
	}
	outcomes := make([]outcome, len(over))
	for i, o := range over {
		outcomes[i] = outcome{&o.message, bookFateOf(o.result.Fate, o.doubt), o.result.Position}
	}
	p.books.note(r.destination, outcomes)
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no answer")
	}
	return err
}

// outgoing is one message with its number, waiting for its fate.
type outgoing struct {
	message  Message
	deadline time.Time
	done     func(PublishResult)
	doubt    bool // it may be stored by an earlier try, here or in another process
	result   PublishResult
}

// route is one destination of a publisher.
type route struct {
	destination string
	wake        chan struct{}
	opened      bool // its books are, see openBooks

	mu      sync.Mutex
	idle    *sync.Cond
	stamper *stamper
	queue   []*outgoing
	open    int // messages without a fate
}

// add stamps and queues in one step: the order of numbers is that of sending.
func (r *route) add(p *Publisher, m Message, done func(PublishResult)) bool {
	now := p.config.Clock.Now()
	r.mu.Lock()
	if p.alive.Err() != nil {
		r.mu.Unlock()
		return false
	}
	numbered := !m.Stamp.IsZero() // elsewhere
	r.stamper.stamp(&m, now)
	r.queue = append(r.queue, &outgoing{message: m, deadline: now.Add(p.config.Timeout), done: done, doubt: numbered})
	r.open++
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return true
}

// given is the highest number of each lane.
func (r *route) given() map[int32]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.stamper.next)
}

func (r *route) take(most int) []*outgoing {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(most, len(r.queue))
	batch := r.queue[:n:n]
	r.queue = r.queue[n:]
	if len(r.queue) == 0 {
		r.queue = nil // let the backing array go
	}
	return batch
}

func (r *route) finish(p *Publisher, o *outgoing, result PublishResult) {
	if o.done != nil {
		o.done(result)
	}
	<-p.room
	r.mu.Lock()
	r.open--
	if r.open == 0 {
		r.idle.Broadcast()
	}
	r.mu.Unlock()
}

// abandon reports what was never handed to the broker: surely not stored.
func (r *route) abandon(p *Publisher) {
	r.mu.Lock()
	queue := r.queue
	r.queue = nil
	r.mu.Unlock()
	own := make([]*outgoing, 0, len(queue))
	for _, o := range queue {
		o.result = PublishResult{Fate: Refused, Err: ErrClosed}
		if !o.doubt { // of others' numbers nothing is known
			own = append(own, o)
		}
	}
	p.noteFates(r, own)
	for _, o := range queue {
		if o.done != nil {
			o.done(o.result)
		}
	}
}

func (r *route) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { r.mu.Lock(); r.idle.Broadcast(); r.mu.Unlock() })
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.open > 0 {
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %d messages to %q have no fate yet: %w", ErrInDoubt, r.open, r.destination, context.Cause(ctx))
		}
		r.idle.Wait()
	}
	return nil
}

// stamper numbers the messages of one destination.
type stamper struct {
	life   Life
	origin uint64
	lanes  Lanes
	next   map[int32]uint64
}

func newStamper(life Life, destination string, lanes Lanes) *stamper {
	return &stamper{life: life, origin: OriginOf(destination), lanes: lanes, next: make(map[int32]uint64)}
}

// stamp chooses the lane, then numbers within it. What is stamped already only
// gets its partition.
func (s *stamper) stamp(m *Message, now time.Time) {
	lane := s.lanes.Pick(m)
	m.Partition = lane
	if m.Time.IsZero() {
		m.Time = now
	}
	if !m.Stamp.IsZero() {
		return
	}
	own := m.ID != ""
	if !own {
		m.ID = MessageID(uid.New())
	}
	s.next[lane]++
	m.Stamp = Stamp{Life: s.life, Lane: uint32(lane), Sequence: s.next[lane], Origin: s.origin, OwnID: own}
}
