package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Churn is what members that come and go cost.
type Churn struct {
	Every     float64 `json:"every"`   // seconds between a member joining and its leaving, and the next
	Moves     int     `json:"moves"`   // joined or left, while it ran
	Members   int     `json:"members"` // that came and got partitions
	Alone     float64 `json:"alone"`   // deliveries/s undisturbed
	Disturbed float64 `json:"disturbed"`
	Share     float64 `json:"share"`
	Target    float64 `json:"target"`
	// Milliseconds that a partition stood still when it changed hands: from the last
	// commit of its old owner to the first of the new one.
	Half    float64 `json:"half"`
	Longest float64 `json:"longest"`
	Stops   int     `json:"stops"` // how many those are
	Copies  int64   `json:"copies"`
}

// Reached reports whether the target is met.
func (c Churn) Reached() bool { return c.Share >= c.Target }

const (
	churnEvery = 2 * time.Second
	churnLanes = 4
)

// churn works a topic off while a second member comes and goes.
func (h *kafkaHall) churn(ctx context.Context, p *Page) error {
	c := Churn{Every: churnEvery.Seconds(), Target: 0.50}
	alone, err := h.each(true)(ctx, h.load(h.c.Deliveries, churnLanes))
	if err != nil {
		return err
	}
	l := h.load(h.c.Deliveries, churnLanes)
	disturbed, err := h.disturbed(ctx, l, &c)
	if err != nil {
		return err
	}
	c.Alone, c.Disturbed = float64(l.n)/alone.Seconds(), float64(l.n)/disturbed.Seconds()
	c.Share = c.Disturbed / c.Alone
	p.Churn = &c
	h.c.Log(fmt.Sprintf("a member comes or goes every %v: %.2f of the rate; a partition stood still for %.0f ms (median), %.0f ms at most", churnEvery, c.Share, c.Half, c.Longest))
	return nil
}

func (h *kafkaHall) disturbed(ctx context.Context, l *load, c *Churn) (time.Duration, error) {
	topic, err := h.topic(ctx, l, false)
	if err != nil {
		return 0, err
	}
	if err := h.fresh(ctx); err != nil {
		return 0, err
	}
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	group, all := h.group(), &stops{arrival: newArrival(l.orders), last: make(map[int32]commit), took: make(map[string]bool)}
	ended := make(chan error, 2)
	begin := func(ctx context.Context, name string) error {
		m, err := h.member(ctx, topic, group, owner{all, name}, h.eachConsumer(true))
		if err == nil {
			go func() {
				err := m.consumer.Run(ctx)
				if ctx.Err() != nil && errors.Is(err, context.Canceled) {
					err = nil // it had not even begun
				}
				ended <- m.close(err)
			}()
		}
		return err
	}
	if err := begin(ctx, "stays"); err != nil {
		return 0, err
	}
	running, leave := 1, func() {}
	tick := time.NewTicker(churnEvery)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case end := <-all.all:
			all.all <- end
			done = true
		case err := <-ended:
			if running--; running == 0 || err != nil {
				leave()
				return 0, fmt.Errorf("a member ended after %d of %d orders: %w", all.applied.Load(), l.orders, err)
			}
		case <-tick.C:
			c.Moves++
			if c.Moves%2 == 0 {
				leave()
				continue
			}
			var inside context.Context
			inside, leave = context.WithCancel(ctx)
			if err := begin(inside, fmt.Sprint("comes ", c.Moves)); err != nil {
				leave()
				return 0, err
			}
			running++
		}
	}
	leave()
	stop()
	for ; running > 0; running-- {
		if e := <-ended; err == nil {
			err = e
		}
	}
	all.told(c)
	if err == nil {
		err = h.check(context.WithoutCancel(ctx), l)
	}
	return (<-all.all).Sub(<-all.begun), err
}

// stops notes how long partitions stand still when they change hands.
type stops struct {
	*arrival
	mu   sync.Mutex
	last map[int32]commit
	gaps []float64
	took map[string]bool // members that had work
}

type commit struct {
	owner string
	at    time.Time
}

// owner observes for one member.
type owner struct {
	*stops
	name string
}

// Observe implements rollcall.Observer.
func (o owner) Observe(e rollcall.Event) {
	if c, is := e.(rollcall.Committed); is && c.Delivered > 0 {
		now := time.Now()
		o.mu.Lock()
		before, any := o.last[c.Partition.Number]
		if any && before.owner != o.name {
			// The commit took a while, and was work.
			o.gaps = append(o.gaps, float64(now.Add(-c.Took).Sub(before.at))/float64(time.Millisecond))
		}
		o.last[c.Partition.Number], o.took[o.name] = commit{o.name, now}, true
		o.mu.Unlock()
	}
	o.arrival.Observe(e)
}

// told are the median and the longest, in milliseconds.
func (s *stops) told(c *Churn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Stops, c.Copies, c.Members = len(s.gaps), s.copies.Load(), len(s.took)-1
	if len(s.gaps) > 0 {
		c.Half, c.Longest = median(s.gaps), slices.Max(s.gaps)
	}
}
