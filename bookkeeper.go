package rollcall

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall/internal/backoff"
)

// BooksConfig is how a sender keeps its books (see Book): what it gave out, and what
// became of it, in a destination beside those that it sends to. An audit reads them.
// The zero value keeps them. They never delay or fail a message.
type BooksConfig struct {
	// Off keeps none. Default: false. For a Sender that is no SideMaker, one of requests
	// say, none are kept either.
	Off bool
	// Destination is where they are written. Default: SideDestination.
	Destination string
	// Sender is a name for people. Default: the names of the host and the program, and
	// the number of the process.
	Sender string
	// Every is how often what changed is written. Default: 1 s.
	Every time.Duration
	// Idle is how often a record is written when nothing changed. Default: 10 s.
	Idle time.Duration
}

func (c BooksConfig) withDefaults() BooksConfig {
	c.Every = orDefault(c.Every, time.Second)
	c.Idle = orDefault(c.Idle, 10*time.Second)
	if c.Destination == "" {
		c.Destination = SideDestination
	}
	if c.Sender == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown host"
		}
		c.Sender = fmt.Sprintf("%s %s %d", host, filepath.Base(os.Args[0]), os.Getpid())
	}
	return c
}

const (
	// foreignPages is how many pages of numbers that others gave out are remembered;
	// what was heard of least lately is closed then.
	foreignPages = 10_000
	// tellBooks is how often at most it is told that books could not be written.
	tellBooks = time.Minute
	// restate is how many times Idle it takes until all is written again that did not
	// change: the side destination does not keep records for ever.
	restate = 360
	// bookPatience is how long one writing may take, and all that Close writes.
	bookPatience = 5 * time.Second
	// lastPatience is how long Close writes when its context is over already.
	lastPatience = 500 * time.Millisecond
)

// bookkeeper keeps the books of one process. nil keeps none. It lives from the first
// message on; only its own goroutine talks to the broker.
type bookkeeper struct {
	sender   Sender
	config   BooksConfig
	clock    Clock
	observer Observer
	keeper   Life
	most     bookLimits

	mu      sync.Mutex
	pages   map[pageKey]*page
	own     map[Life]bool // lives whose numbers are given out here
	foreign *list.List    // pages of other lives, least lately heard of first
	closing []*page       // to be written once more, and forgotten
	evicted bool
	number  uint64
	overrun int    // pages that were forgotten before they were written
	fresh   bool   // there is a new page
	rouse   func() // ends the pause
	touched []*bookLane

	started bool
	alive   context.Context
	stop    context.CancelFunc
	done    chan struct{}

	// Of the goroutine, and of close after it.
	made   bool // the side destination is there
	lanes  Lanes
	told   time.Time
	missed int
}

// newBookkeeper is nil when no books are to be kept.
func newBookkeeper(sender Sender, config BooksConfig, clock Clock, observer Observer, keeper Life) *bookkeeper {
	if _, can := sender.(SideMaker); config.Off || !can {
		return nil
	}
	k := &bookkeeper{sender: sender, config: config.withDefaults(), clock: clock, observer: observer, keeper: keeper, most: newBookLimits(sender.Capabilities().MaxBytes),
		pages: make(map[pageKey]*page), own: map[Life]bool{keeper: true}, foreign: list.New(), rouse: func() {}, done: make(chan struct{})}
	k.alive, k.stop = context.WithCancel(context.Background())
	return k
}

// open a page before the first message of a destination is handed over. given tells
// the highest number of each lane, where they are given out here.
func (k *bookkeeper) open(life Life, destination string, lanes Lanes, given func() map[int32]uint64) {
	if k == nil || destination == k.config.Destination {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.page(life, destination); p.given == nil {
		p.lanesOf, p.given = lanes, given
	}
}

// gave out a number: for those who give them out one by one.
func (k *bookkeeper) gave(destination string, lanes Lanes, s *Stamp) {
	if k == nil || destination == k.config.Destination {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.page(s.Life, destination)
	p.lanesOf = lanes
	l := p.lane(laneKey{s.Origin, s.Lane})
	l.given = max(l.given, s.Sequence)
	p.change(l, k.clock.Now())
}

// owns another life of this process.
func (k *bookkeeper) owns(life Life) {
	if k != nil {
		k.mu.Lock()
		k.own[life] = true
		k.mu.Unlock()
	}
}

// gives tells whether the numbers of a life are given out here.
func (k *bookkeeper) gives(life Life) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.own[life]
}

// note what became of messages.
func (k *bookkeeper) note(destination string, outcomes []outcome) {
	if k == nil || destination == k.config.Destination {
		return
	}
	now := k.clock.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	var p *page
	for i := range outcomes {
		s := &outcomes[i].message.Stamp
		if s.IsZero() {
			continue
		}
		if p == nil || p.key.life != s.Life {
			p = k.page(s.Life, destination)
		}
		lane := p.lane(laneKey{s.Origin, s.Lane})
		if !lane.touched {
			lane.touched = true
			k.touched = append(k.touched, lane)
		}
		lane.note(outcomes, i, now)
	}
	for _, lane := range k.touched {
		lane.touched = false
		lane.flush(outcomes, now)
		lane.limit(k.most.set)
		lane.page.change(lane, now)
	}
	k.touched = k.touched[:0]
}

// page of a life and destination. The caller holds mu.
func (k *bookkeeper) page(life Life, destination string) *page {
	key := pageKey{life, destination}
	p := k.pages[key]
	if p == nil {
		p = &page{key: key, keeper: k.keeper, origin: OriginOf(destination), lanes: make(map[laneKey]*bookLane), marks: k.most.marks}
		k.pages[key] = p
		if !k.own[life] {
			if k.evicted { // it may be one that was forgotten: what was said then holds on
				p.keeper = NewLife()
			}
			p.element = k.foreign.PushBack(p)
			k.evict()
		}
		k.begin()
	} else if p.element != nil {
		k.foreign.MoveToBack(p.element)
	}
	return p
}

// begin wakes the goroutine, or starts it. The caller holds mu.
func (k *bookkeeper) begin() {
	k.fresh = true
	k.rouse()
	if !k.started {
		k.started = true
		go k.run()
	}
}

// evict closes the page that was heard of least lately, when there are too many. The
// caller holds mu.
func (k *bookkeeper) evict() {
	if k.foreign.Len() <= foreignPages {
		return
	}
	k.evicted = true
	p := k.foreign.Remove(k.foreign.Front()).(*page)
	delete(k.pages, p.key)
	if p.ended && len(p.changed) == 0 {
		return
	}
	if len(k.closing) < foreignPages {
		k.closing = append(k.closing, p)
	} else {
		k.overrun++
	}
}

func (k *bookkeeper) run() {
	defer close(k.done)
	for failures := 0; k.alive.Err() == nil; {
		wait := k.config.Every
		if err := k.write(k.alive, false); err == nil {
			failures = 0
		} else if k.alive.Err() == nil {
			wait = backoff.Delay(failures, k.config.Every, tellBooks)
			failures++
		}
		k.mu.Lock()
		overrun := k.overrun
		k.overrun = 0
		k.mu.Unlock()
		if overrun > 0 {
			k.failed(fmt.Errorf("rollcall: numbers of more than %d lives were sent faster than they could be written down", foreignPages), overrun)
		}
		k.pause(wait, failures == 0)
	}
}

// pause until it is time, or there is a new page; not for that when writing fails.
func (k *bookkeeper) pause(d time.Duration, early bool) {
	ctx, cancel := context.WithCancel(k.alive)
	defer cancel()
	k.mu.Lock()
	if early && k.fresh {
		cancel()
	}
	k.rouse = func() {}
	if early {
		k.rouse = cancel
	}
	k.mu.Unlock()
	_ = k.clock.Sleep(ctx, d)
}

// close writes the last record of each page, in ctx and a few seconds. It is called
// when every message has its fate.
func (k *bookkeeper) close(ctx context.Context) {
	if k == nil {
		return
	}
	k.stop()
	k.mu.Lock()
	started := k.started
	k.started = true // it never starts again
	k.mu.Unlock()
	if !started {
		return
	}
	patience := bookPatience
	if ctx.Err() != nil { // a program that ends by its context still says that it ended
		ctx, patience = context.WithoutCancel(ctx), lastPatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-k.done:
	case <-ctx.Done():
		return
	}
	for try := 0; ; try++ {
		err := k.write(ctx, true)
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrConfig) { // what is refused stays so
			return
		}
		_ = systemClock{}.Sleep(ctx, backoff.Delay(try, 50*time.Millisecond, time.Second))
	}
}

// failed tells that books were not written, now and then.
func (k *bookkeeper) failed(err error, records int) {
	now := k.clock.Now()
	k.mu.Lock()
	k.missed += records
	since := now.Sub(k.told)
	tell := k.told.IsZero() || since >= tellBooks || since < 0
	missed := k.missed
	if tell {
		k.told, k.missed = now, 0
	}
	k.mu.Unlock()
	if tell {
		k.observer.Observe(BooksFailed{Destination: k.config.Destination, Err: err, Missed: missed})
	}
}

// side is how the side destination numbers; it is made when it is not there.
func (k *bookkeeper) side(ctx context.Context) (Lanes, error) {
	if k.lanes != nil {
		return k.lanes, nil
	}
	var made error
	if !k.made {
		made = k.sender.(SideMaker).MakeSide(ctx, k.config.Destination)
		k.made = made == nil
	}
	lanes, err := k.sender.Lanes(ctx, k.config.Destination)
	if err != nil { // and if it is there, nobody needs to make it
		return nil, errors.Join(err, made)
	}
	k.lanes = lanes
	return lanes, nil
}
