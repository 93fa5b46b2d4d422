package server

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	driver "github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// Resident is the memory of the process while it works off a long topic.
type Resident struct {
	Messages int     `json:"messages"`
	Most     float64 `json:"most"` // MiB
	Target   float64 `json:"target"`
	// Slope of a straight line through the samples of the second half, in MiB for a
	// million messages.
	Slope float64 `json:"slope"`
	First float64 `json:"first"` // MiB, the mean of the second tenth
	Last  float64 `json:"last"`  // and of the last
	Rate  float64 `json:"rate"`  // deliveries/s
}

// Reached reports whether the target is met.
func (r Resident) Reached() bool { return r.Most <= r.Target }

const (
	residentTarget = 120 // MiB
	residentLanes  = 4
)

// memory watches the resident memory over Config.Watch messages. They are sent
// first, in pieces, so that the sender leaves nothing behind.
func (h *kafkaHall) memory(ctx context.Context, p *Page) error {
	n := h.c.Watch
	l := &load{n: n, orders: n, parts: make([][]rollcall.Message, residentLanes)}
	topic, err := h.newTopic(ctx, residentLanes, fmt.Sprint(n, residentLanes, false))
	if err != nil {
		return err
	}
	life, lane := rollcall.NewLife(), make([]uint64, residentLanes)
	var batch []rollcall.Message
	for i := range n {
		o := order{int64(i), int32(i % accounts), int32(1 + i%100)}
		l.sum += int64(o.Amount)
		at := i % residentLanes
		lane[at]++
		batch = append(batch, rollcall.Message{ID: rollcall.MessageID(fmt.Sprint("order-", i)), Key: fmt.Sprint(o.Account), Partition: int32(at), Body: o.json(),
			Stamp: rollcall.Stamp{Life: life, Lane: uint32(at), Sequence: lane[at], Origin: rollcall.OriginOf(destination)}})
		if len(batch) == perPublish || i == n-1 {
			if err := stored(h.cluster.Sender().Publish(ctx, topic, batch)); err != nil {
				return err
			}
			batch = nil
		}
	}
	h.cluster.Close() // with its buffers
	if h.cluster, err = driver.Open(ctx, h.brokers, driver.Config{Warn: func(string) {}}); err != nil {
		return err
	}
	debug.FreeOSMemory()
	h.c.Log(fmt.Sprintf("%d messages are sent; %.0f MiB are resident before the first is read", n, resident()))
	watched, stop := context.WithCancel(ctx)
	samples := make(chan []sample, 1)
	seen := newArrival(n)
	go func() { samples <- watchMemory(watched, seen) }()
	took, err := h.work(ctx, l, func(group string, source rollcall.Source, store *postgres.Store, watch rollcall.Observer) (*rollcall.Consumer[pgx.Tx], error) {
		return h.tablesConsumer(group, source, store, both{watch, seen})
	})
	stop()
	if err != nil {
		return err
	}
	r := judgeMemory(<-samples, n)
	r.Rate = float64(n) / took.Seconds()
	p.Resident = &r
	h.c.Log(fmt.Sprintf("%d messages: at most %.0f MiB resident, %.1f and %.1f MiB at the beginning and the end", n, r.Most, r.First, r.Last))
	return nil
}

// both tell two observers.
type both [2]rollcall.Observer

// Observe implements rollcall.Observer.
func (b both) Observe(e rollcall.Event) {
	b[0].Observe(e)
	b[1].Observe(e)
}

// sample is the memory when so much was done.
type sample struct{ done, mib float64 }

func watchMemory(ctx context.Context, seen *arrival) (all []sample) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if done := seen.applied.Load(); done > 0 {
			all = append(all, sample{float64(done), resident()})
		}
		select {
		case <-ctx.Done():
			return append(all, sample{float64(seen.applied.Load()), resident()})
		case <-tick.C:
		}
	}
}

// resident is this process's resident set in MiB, 0 where the system does not say.
func resident() float64 {
	var size, pages int64
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0
	}
	return float64(pages*int64(os.Getpagesize())) / (1 << 20)
}

func judgeMemory(all []sample, n int) Resident {
	r := Resident{Messages: n, Target: residentTarget}
	for _, s := range all {
		r.Most = max(r.Most, s.mib)
	}
	r.First, r.Last = mean(all, 0.1*float64(n), 0.2*float64(n)), mean(all, 0.9*float64(n), float64(n))
	r.Slope = slope(all, float64(n)/2) * 1e6
	return r
}

// mean of the samples in between.
func mean(all []sample, from, to float64) float64 {
	sum, k := 0.0, 0.0
	for _, s := range all {
		if s.done >= from && s.done <= to {
			sum, k = sum+s.mib, k+1
		}
	}
	return sum / max(1, k)
}

// slope of the line of least squares, in MiB a message.
func slope(all []sample, from float64) float64 {
	var k, x, y, xx, xy float64
	for _, s := range all {
		if s.done >= from {
			k, x, y, xx, xy = k+1, x+s.done, y+s.mib, xx+s.done*s.done, xy+s.done*s.mib
		}
	}
	if below := k*xx - x*x; below > 0 {
		return (k*xy - x*y) / below
	}
	return 0
}
