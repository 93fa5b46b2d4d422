// Package server measures what recording "done" on a database server costs: each
// strategy and way to write handlers, and the textbook's pattern, as shares of F,
// the same effects in batches without any record.
//
// The effect is an order and the balance of one of a thousand accounts. A fifth
// of the deliveries are repeats; F's have been removed beforehand, and rates are
// deliveries a second, so that F and the others end with the same tables. Bodies
// are read without JSON, and the log lies in memory: what is compared is the
// work with the database.
package server

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Config is the settings of a Run.
type Config struct {
	// Postgres is the server's URL. A schema of its own is made and dropped.
	// Default: none, then MySQL is required.
	Postgres string
	// MySQL is the DSN of a MySQL or MariaDB server to measure instead. A database
	// of its own is made and dropped. Default: none.
	MySQL string
	// Kafka is a broker (host:port) whose topics are to be worked off into Postgres,
	// instead of measuring that alone. Topics of its own are made and deleted.
	// Default: none.
	Kafka string
	// Redis is the address of a server for the textbook's lock. Default: none,
	// the textbook is left out.
	Redis string
	// Deliveries of each set-based figure; handlers and the textbook, which are
	// slower, get fewer. Default: 100,000.
	Deliveries int
	// Network adds 0.5 ms to each turn and, on PostgreSQL, 1 ms to each commit, as
	// an ordinary cloud database has. Default: false.
	Network bool
	// Repetitions of each figure, of which the median counts. Default: 3.
	Repetitions int
	// Only measures ways whose name contains this. Default: all.
	Only string
	// Keys: with more than none only growth is measured, the rate of an Inbox with
	// so many keys in its table beside that of an empty one; on PostgreSQL.
	// Default: 0.
	Keys int
	// Watch: with more than none only the memory is measured, over so many messages;
	// with Kafka. Default: 0.
	Watch int
	// Log is told what is measured. Default: nobody.
	Log func(string)
}

// Figure is one line.
type Figure struct {
	Server  string  `json:"server,omitempty"` // where a page has several
	Name    string  `json:"name"`
	Workers int     `json:"workers"`
	Network bool    `json:"network"`
	Target  float64 `json:"target,omitempty"` // share, or factor, that is wanted; 0: none
	Share   float64 `json:"share"`            // of Of
	Of      string  `json:"of"`
	Rate    float64 `json:"rate"` // deliveries/s
	// Turns to the servers for each 500 deliveries, connecting included.
	Turns float64 `json:"turns,omitempty"`
}

// Reached reports whether the target is met; true where there is none.
func (f Figure) Reached() bool { return f.Share >= f.Target }

// Page is one run.
type Page struct {
	Date     string   `json:"date"`
	Go       string   `json:"go"`
	Postgres string   `json:"postgres,omitempty"` // as asked from it
	MySQL    []string `json:"mysql,omitempty"`    // as asked from each
	Redis    string   `json:"redis,omitempty"`
	Kafka    string   `json:"kafka,omitempty"` // as guessed from what it can do
	// Deliveries of a figure, where it matters.
	Deliveries int       `json:"deliveries,omitempty"`
	CPUs       int       `json:"cpus"`
	Figures    []Figure  `json:"figures"`
	Commits    *Commits  `json:"commits,omitempty"`
	Growth     []Growth  `json:"growth,omitempty"`
	Churn      *Churn    `json:"churn,omitempty"`
	Resident   *Resident `json:"resident,omitempty"`
}

const repetitions = 3

// Run measures all figures of one profile, each against an F measured just
// before and just after it, and adds them to p.
func Run(ctx context.Context, c Config, p *Page) error {
	if c.Deliveries == 0 {
		c.Deliveries = 100_000
	}
	if c.Repetitions == 0 {
		c.Repetitions = repetitions
	}
	if c.Log == nil {
		c.Log = func(string) {}
	}
	h, err := open(ctx, c)
	if err != nil {
		return err
	}
	defer h.close()
	p.Date, p.Go, p.CPUs = time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.NumCPU()
	h.describe(p)
	if c.Keys > 0 {
		return h.grow(ctx, p)
	}
	if k, is := h.(*kafkaHall); is && c.Watch > 0 {
		return k.memory(ctx, p)
	}
	rates := make(map[string]float64)
	for _, w := range h.ways() {
		if !strings.Contains(w.name, c.Only) {
			continue
		}
		f, err := measure(ctx, h, c, w)
		if err != nil {
			return fmt.Errorf("%s, %d workers: %w", w.name, w.workers, err)
		}
		rates[fmt.Sprint(w.name, w.workers)] = f.Rate
		if w.of != "" {
			f.Of, f.Share = w.of, f.Rate/rates[fmt.Sprint(w.of, w.ofWorkers)]
		}
		f.Target, f.Network, f.Server = w.target, c.Network, h.name()
		p.Figures = append(p.Figures, f)
		c.Log(fmt.Sprintf("%-34s %2d workers %9.0f/s  %.3g of %s", f.Name, f.Workers, f.Rate, f.Share, f.Of))
	}
	return h.more(ctx, p)
}

func open(ctx context.Context, c Config) (hall, error) {
	switch {
	case c.Postgres != "" && c.MySQL != "":
		return nil, fmt.Errorf("Config.Postgres and Config.MySQL are both set: measure one after the other; nothing was done")
	case c.MySQL != "":
		return openMySQL(ctx, c)
	case c.Kafka != "":
		return openKafka(ctx, c)
	}
	return openPostgres(ctx, c)
}

// measure takes the medians of a way. F is that before and that after, averaged.
func measure(ctx context.Context, h hall, c Config, w way) (Figure, error) {
	var rates, shares, turns []float64
	n := max(w.least, c.Deliveries/max(1, w.slower))
	make := func(n int) *load { return newLoad(n, w.workers, w.distinct) }
	if k, is := h.(*kafkaHall); is {
		make = func(n int) *load { return k.load(n, w.workers) }
	}
	ceiling := func() (float64, error) {
		if w.of != "" {
			return 1, nil // it is no share of F
		}
		d, err := h.ceiling(ctx, make(c.Deliveries))
		return float64(c.Deliveries) / d.Seconds(), err
	}
	for range c.Repetitions {
		runtime.GC()
		before, err := ceiling()
		if err != nil {
			return Figure{}, err
		}
		spoken := h.turns()
		d, err := w.run(ctx, make(n))
		if err != nil {
			return Figure{}, err
		}
		turns = append(turns, float64(h.turns()-spoken)*perTransaction/float64(n))
		after, err := ceiling()
		if err != nil {
			return Figure{}, err
		}
		rate := float64(n) / d.Seconds()
		rates, shares = append(rates, rate), append(shares, rate/((before+after)/2))
	}
	return Figure{Name: w.name, Workers: w.workers, Of: "F", Share: median(shares), Rate: median(rates), Turns: median(turns)}, nil
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
