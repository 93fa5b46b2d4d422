package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/rollcall-mq/rollcall"
)

// processCounts are the figures of this process.
type processCounts struct {
	Delivered  int64 `json:"delivered"`
	Duplicates int64 `json:"duplicates"`
	Applied    int64 `json:"applied"`
	Repeated   int64 `json:"repeated"`
	Stale      int64 `json:"stale"`
	Filtered   int64 `json:"filtered"`
	SetAside   int64 `json:"set_aside"`
}

// meter is the observer of run: it counts, tells people of trouble, and shows
// progress.
type meter struct {
	app *app
	log rollcall.Observer // with --verbose

	mu     sync.Mutex
	sum    processCounts
	told   map[string]*telling
	done   chan struct{}
	joined sync.WaitGroup
}

// telling is how often one kind of trouble was told.
type telling struct {
	last   time.Time
	silent int
}

// tellEvery is how long the same kind of trouble is only counted.
const tellEvery = 5 * time.Second

func newMeter(a *app) *meter {
	m := &meter{app: a, told: make(map[string]*telling), done: make(chan struct{})}
	if a.verbose {
		m.log = rollcall.SlogObserver(a.logger())
	}
	return m
}

func (m *meter) counts() processCounts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sum
}

// Observe implements rollcall.Observer.
func (m *meter) Observe(event rollcall.Event) {
	if c, ok := event.(rollcall.Committed); ok {
		m.mu.Lock()
		m.sum.Delivered += int64(c.Delivered)
		m.sum.Duplicates += int64(c.Duplicates)
		m.sum.Applied += c.Counts.Applied
		m.sum.Repeated += c.Counts.Repeated
		m.sum.Stale += c.Counts.Stale
		m.sum.Filtered += c.Counts.Filtered
		m.sum.SetAside += int64(c.SetAside)
		m.mu.Unlock()
	}
	if m.log != nil {
		m.log.Observe(event)
		return
	}
	if kind, text := trouble(event); text != "" {
		m.tell(kind, text)
	}
}

// trouble is what a person wants to read, and its kind.
func trouble(event rollcall.Event) (kind, text string) {
	switch e := event.(type) {
	case rollcall.SetAside:
		if e.State == rollcall.AsideWaiting {
			return "", ""
		}
		return "set aside " + string(e.State), fmt.Sprintf("set aside %s: message %s, attempts %d: %s", e.State, e.MessageID, e.Attempts, e.Cause)
	case rollcall.InDoubt:
		return "commit in doubt", fmt.Sprintf("a commit had no answer, redoing it: %v", e.Err)
	case rollcall.Fenced:
		if e.Partition.Destination == "" {
			return "relay fenced", "another process has taken over sending the requests"
		}
		return "fenced", fmt.Sprintf("another worker has taken over %s/%d, nothing was settled", e.Partition.Destination, e.Partition.Number)
	case rollcall.Paused:
		return "paused " + e.Where, fmt.Sprintf("paused (%s), trying again in %v: %v", e.Where, e.For, e.Err)
	case rollcall.RollOverflow:
		return "roll too large", fmt.Sprintf("a roll outgrew its size: messages numbered %d to %d are parked from now on", e.First, e.Last)
	case rollcall.BooksFailed:
		return "books not written", fmt.Sprintf("warning: the books for the audit could not be written to %q, messages go on: %v; what is sent meanwhile is not audited by name", e.Destination, e.Err)
	case rollcall.Remade:
		return "made again", fmt.Sprintf("warning: %s was made again, or is another one: this group has done %d messages of the one before; this one is read from its beginning", e.Destination, e.Done)
	case rollcall.Overdue:
		return "overdue", fmt.Sprintf("warning: a message of %s is %v old, and source.late or dedup.window says %v: a repeat that comes as late is taken for a new message; make both longer than the longest time in the queue", e.Destination, e.Age.Round(time.Second), e.Limit)
	case rollcall.Expired:
		return "dead letters expired", fmt.Sprintf("%d dead letters were discarded because of their age (dead_letters.keep): see rollcall dead log", e.Rows)
	case rollcall.Suspected:
		return "worker ended in mid-message", fmt.Sprintf("a worker ended in mid-message on %s/%d: its last %d messages are tried with care", e.Partition.Destination, e.Partition.Number, e.Messages)
	}
	return "", ""
}

// tell prints trouble; of one kind at most a line every few seconds.
func (m *meter) tell(kind, text string) {
	m.mu.Lock()
	t := m.told[kind]
	if t == nil {
		t = &telling{}
		m.told[kind] = t
	}
	now := time.Now()
	if !t.last.IsZero() && now.Sub(t.last) < tellEvery {
		t.silent++
		m.mu.Unlock()
		return
	}
	if t.silent > 0 {
		text += fmt.Sprintf(" (and %d more like it)", t.silent)
	}
	t.last, t.silent = now, 0
	m.mu.Unlock()
	m.app.note("%s", text)
}

// begin starts showing progress: a bar on a terminal, else a line every few
// seconds in which something happened.
func (m *meter) begin() {
	every, show := progressEvery, func(text string, _ int64) { m.app.note("%s", text) }
	if m.app.terminal {
		bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(m.app.err), progressbar.OptionClearOnFinish())
		every, show = time.Second, func(text string, done int64) {
			bar.Describe(text)
			_ = bar.Set64(done) // a bar that cannot be drawn stops nothing
		}
	}
	m.joined.Go(func() { m.show(every, show) })
}

func (m *meter) show(every time.Duration, show func(text string, done int64)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last processCounts
	for {
		select {
		case <-tick.C:
		case <-m.done:
			return
		}
		now := m.counts()
		if now == last {
			continue
		}
		show(fmt.Sprintf("delivered %d (%d duplicates), applied %d, set aside %d, %.0f a second", now.Delivered, now.Duplicates, now.Applied,
			now.SetAside, float64(now.Delivered-last.Delivered)/every.Seconds()), now.Delivered)
		last = now
	}
}

// end stops showing, and tells what was only counted.
func (m *meter) end() {
	close(m.done)
	m.joined.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(m.told)) {
		if n := m.told[kind].silent; n > 0 {
			m.app.note("%s: %d more", kind, n)
		}
	}
}
