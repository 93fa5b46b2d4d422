package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressEvery is how often a line is written where there is no terminal.
const progressEvery = 3 * time.Second

// progress shows how far long work is, on stderr: a bar on a terminal, else a
// line every few seconds; nothing for short work. It uses no colour.
type progress struct {
	app   *app
	total int64 // bytes; -1: not known
	items bool  // what is counted is not bytes

	mu       sync.Mutex
	what     string
	bar      *progressbar.ProgressBar
	messages int64
	bytes    int64
	started  time.Time
	done     chan struct{}
	joined   sync.WaitGroup
}

func newProgress(a *app, total int64) *progress { return &progress{app: a, total: total} }

// begin starts showing.
func (p *progress) begin(what string) {
	p.what, p.started, p.done = what, time.Now(), make(chan struct{})
	if p.app.terminal {
		p.bar = progressbar.NewOptions64(p.total, progressbar.OptionSetWriter(p.app.err), progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(!p.items), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
		return
	}
	p.joined.Go(p.lines)
}

func (p *progress) lines() {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.app.note("%s", p.line())
		case <-p.done:
			return
		}
	}
}

func (p *progress) line() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("%s %s", p.what, sizeText(p.bytes))
	if p.items {
		return fmt.Sprintf("%s %d of %d", p.what, p.bytes, p.total)
	}
	if p.messages > 0 {
		text = fmt.Sprintf("%s %d messages, %s, %.0f a second", p.what, p.messages, sizeText(p.bytes), float64(p.messages)/time.Since(p.started).Seconds())
	}
	if p.total > 0 {
		text += fmt.Sprintf(" of %s", sizeText(p.total))
	}
	return text
}

// add counts what was done.
func (p *progress) add(messages, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages += messages
	p.bytes += bytes
	if p.bar != nil {
		_ = p.bar.Add64(bytes) // a bar that cannot be drawn stops nothing
	}
}

// end stops showing.
func (p *progress) end() {
	close(p.done)
	p.joined.Wait()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
