package figures

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"time"

	_ "modernc.org/sqlite" // whose version is asked
)

// Figure is one line of a Page.
type Figure struct {
	Name   string  `json:"name"`
	Target float64 `json:"target,omitempty"` // share that is wanted; 0: none
	Share  float64 `json:"share"`            // of F, or of what the name says
	Rate   float64 `json:"rate"`             // messages/s
	F      float64 `json:"f_rate"`           // of what it is a share, messages/s
}

// Reached reports whether the target is met; true where there is none.
func (f Figure) Reached() bool { return f.Share >= f.Target }

// Page is one run: docs/figures.json.
type Page struct {
	Date     string   `json:"date"`
	Go       string   `json:"go"`
	SQLite   string   `json:"sqlite"` // as asked from it
	CPUs     int      `json:"cpus"`
	Messages int      `json:"messages"`
	Figures  []Figure `json:"figures"`
}

// Config is the settings of a Run.
type Config struct {
	// Messages is how many rows are written for each figure, a multiple of 500.
	// Default: Rows.
	Messages int
	// Log is told what is measured. Default: nobody.
	Log func(string)
	// Begin is told which of how many figures comes next. Default: nobody.
	Begin func(name string, at, of int)
}

// Run measures all figures in one run. Nothing of it is left when it returns,
// whether it ended well, failed or ctx ended.
func Run(ctx context.Context, c Config) (Page, error) {
	if c.Messages == 0 {
		c.Messages = Rows
	}
	if c.Log == nil {
		c.Log = func(string) {}
	}
	if c.Begin == nil {
		c.Begin = func(string, int, int) {}
	}
	p := Page{Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(), CPUs: runtime.NumCPU(), Messages: c.Messages}
	orders := newOrders(c.Messages)
	width := 0
	err := on(ctx, c.Log, func(b Stage) {
		p.SQLite = sqliteVersion(b)
		width = bestWidth(b, orders)
	})
	if err != nil {
		return p, err
	}
	all := append(ways(), textbook()...)
	const failingName = "0.1 % failing handlers, of the failure-free rate"
	for i, w := range all {
		c.Begin(w.name, i, len(all)+1)
		if err := one(ctx, c, &p, orders, width, w); err != nil {
			return p, fmt.Errorf("%s: %w", w.name, err)
		}
	}
	c.Begin(failingName, len(all), len(all)+1)
	err = on(ctx, c.Log, func(b Stage) {
		p.add(failingName, 0.50, failing(b, newMessages(b, orders, false)))
	})
	return p, err
}

// one measures one way. Those of the textbook are slow: fewer rows will do.
func one(ctx context.Context, c Config, p *Page, orders []order, width int, w way) error {
	return on(ctx, c.Log, func(b Stage) {
		messages := newMessages(b, orders, w.ownID)
		n := len(messages)
		if w.target == 0 && isTextbook(w.name) {
			n = min(n, textbookRows)
		}
		p.add(w.name, w.target, measure(b, orders, width, messages[:n], w.run))
	})
}

func isTextbook(name string) bool {
	for _, w := range textbook() {
		if w.name == name {
			return true
		}
	}
	return false
}

func (p *Page) add(name string, target float64, r result) {
	p.Figures = append(p.Figures, Figure{name, target, r.share, r.rate, r.f})
}

// sqliteVersion asks the library that ran.
func sqliteVersion(b Stage) string {
	db, err := sql.Open("sqlite", ":memory:")
	must(b, err)
	defer func() { _ = db.Close() }()
	var v string
	must(b, db.QueryRow("SELECT sqlite_version()").Scan(&v))
	return v
}
