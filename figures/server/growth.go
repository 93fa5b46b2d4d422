package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// Growth is what an Inbox keeps of its rate when the table is large.
type Growth struct {
	Kind      string  `json:"kind"` // of the keys
	Keys      int     `json:"keys"` // in the table beforehand
	Empty     float64 `json:"empty"`
	Full      float64 `json:"full"` // deliveries/s
	Share     float64 `json:"share"`
	Target    float64 `json:"target,omitempty"`
	EmptyWAL  float64 `json:"empty_wal"`
	FullWAL   float64 `json:"full_wal"`           // bytes of log a delivery
	Sweeping  float64 `json:"sweeping,omitempty"` // deliveries/s while old keys are swept
	Swept     int     `json:"swept,omitempty"`    // in that time
	Over      bool    `json:"over,omitempty"`     // the sweep was over before the run
	Look      float64 `json:"look,omitempty"`     // seconds of a sweep that finds nothing
	Longest   float64 `json:"longest,omitempty"`  // milliseconds without a commit, alone
	LongestBy float64 `json:"longest_by,omitempty"`
}

// Reached reports whether the target is met; true where there is none.
func (g Growth) Reached() bool { return g.Share >= g.Target }

// FewestKeys are needed for a sweep that lasts as long as a run.
const FewestKeys = 1_000_000

const (
	ordered  = "time-ordered"
	random   = "random"
	oldShare = 10 // a tenth of the keys is older than the window
	window   = 30 * 24 * time.Hour
)

// grow measures an empty table beside one with Config.Keys keys, in turn.
func (h *postgresHall) grow(ctx context.Context, p *Page) error {
	p.Growth = nil
	for _, kind := range []string{ordered, random} {
		g, err := h.growth(ctx, kind)
		if err != nil {
			return fmt.Errorf("growth with %s keys: %w", kind, err)
		}
		p.Growth = append(p.Growth, g)
	}
	return nil
}

func (h *postgresHall) growth(ctx context.Context, kind string) (Growth, error) {
	g := Growth{Kind: kind, Keys: h.c.Keys}
	if kind == ordered {
		g.Target = 0.75
	}
	small, large := *h, *h
	large.schema += "_grown"
	empty, full := &grown{postgresHall: &small, kind: kind}, &grown{postgresHall: &large, kind: kind, keys: h.c.Keys}
	defer empty.drop()
	defer full.drop()
	var rates, wals, fullRates, fullWALs, pauses []float64
	for range h.c.Repetitions {
		a, err := empty.measure(ctx)
		if err != nil {
			return g, err
		}
		b, err := full.measure(ctx)
		if err != nil {
			return g, err
		}
		rates, wals = append(rates, a.rate), append(wals, a.wal)
		fullRates, fullWALs, pauses = append(fullRates, b.rate), append(fullWALs, b.wal), append(pauses, b.silent)
		h.c.Log(fmt.Sprintf("%s keys: %.0f/s and %.0f bytes of log a delivery in an empty table, %.0f/s and %.0f at %d", kind, a.rate, a.wal, b.rate, b.wal, h.c.Keys))
	}
	g.Empty, g.EmptyWAL, g.Full, g.FullWAL, g.Longest = median(rates), median(wals), median(fullRates), median(fullWALs), median(pauses)
	g.Share = g.Full / g.Empty
	if kind == random {
		return g, nil
	}
	return g, full.sweep(ctx, &g)
}

// grown is a schema whose inbox is kept from run to run.
type grown struct {
	*postgresHall
	kind   string
	keys   int // to begin with
	made   bool
	runs   int
	before int64  // place in the log
	begin  func() // called when a run begins; nil: nothing
}

// result of a run.
type result struct{ rate, wal, silent float64 }

// measure is one run of the Inbox with new keys. The consumer does not sweep: an
// hourly sweep would fall into each of the short runs.
func (w *grown) measure(ctx context.Context) (r result, err error) {
	l := newLoad(w.c.Deliveries, 1, false)
	w.runs++
	l.later(w.runs * (1 + w.c.Deliveries/100))
	if w.kind == random {
		l.randomIDs()
	}
	took, silent, err := consumeWatched(ctx, w, l, memory.Replayable, 1, func(source rollcall.Source, store rollcall.Store[pgx.Tx], watch rollcall.Observer) *rollcall.Consumer[pgx.Tx] {
		return rollcall.NewBatchConsumer(group, source, quiet{store}, w.batch(""), config(watch, rollcall.ByKey))
	})
	if err != nil {
		return r, err
	}
	end, err := w.place(ctx)
	n := float64(l.n)
	return result{n / took.Seconds(), float64(end-w.before) / n, float64(silent) / float64(time.Millisecond)}, err
}

// sweep measures while the sweeper removes old keys.
func (w *grown) sweep(ctx context.Context, g *Growth) error {
	store, done, err := w.postgresHall.store(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = done() }()
	count := func() (n int, err error) {
		err = w.admin.QueryRow(ctx, w.text("SELECT count(*) FROM ~.inbox WHERE at < extract(epoch FROM now() - interval '31 days') * 1e9")).Scan(&n)
		return n, err
	}
	begin := time.Now()
	if _, err := store.Upkeep().Sweep(ctx, group, 10*window); err != nil {
		return err
	}
	g.Look = time.Since(begin).Seconds()
	old, err := count()
	if err != nil {
		return err
	}
	sweeping, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	w.begin = func() {
		go func() {
			_, err := store.Upkeep().Sweep(sweeping, group, window)
			ended <- err
		}()
	}
	r, err := w.measure(ctx)
	w.begin = nil
	if err != nil {
		return err
	}
	g.Over = len(ended) > 0
	stop()
	if err := <-ended; g.Over && err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	left, err := count()
	g.Sweeping, g.Swept, g.LongestBy = r.rate, old-left, r.silent
	w.c.Log(fmt.Sprintf("%d old keys swept beside %.0f deliveries/s; at most %.0f ms without a commit, %.0f ms without the sweep", g.Swept, r.rate, r.silent, g.Longest))
	return err
}

func (w *grown) text(s string) string { return strings.ReplaceAll(s, "~", w.schema) }

func (w *grown) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := w.admin.Exec(ctx, w.text("DROP SCHEMA IF EXISTS ~ CASCADE")); err != nil {
		w.c.Log("clean up: " + err.Error())
	}
}

// fresh keeps the inbox.
func (w *grown) fresh(ctx context.Context) error {
	if !w.made {
		w.made = true
		return w.fill(ctx)
	}
	for _, text := range []string{"TRUNCATE ~.orders", "UPDATE ~.accounts SET balance = 0", "VACUUM ANALYZE ~.accounts", "CHECKPOINT"} {
		if _, err := w.admin.Exec(ctx, w.text(text)); err != nil {
			return err
		}
	}
	return nil
}

// fill makes the tables, and the keys as dedup.go would: 6 bytes of time and 10
// of a hash, or 16 of a hash. They come in sorted pieces, as time or the index
// itself has them.
func (w *grown) fill(ctx context.Context) error {
	if err := w.postgresHall.fresh(ctx); err != nil {
		return err
	}
	_, done, err := w.postgresHall.store(ctx) // makes the inbox
	if err != nil {
		return err
	}
	_ = done()
	const piece = 5_000_000
	key, order := fmt.Sprintf("decode(lpad(to_hex(%d + i / 100), 12, '0'), 'hex') || substr(sha256(i::text::bytea), 1, 10)", began-1000-w.keys/100), "1"
	if w.kind == random {
		key, order = "substr(sha256(i::text::bytea), 1, 16)", "2"
	}
	for from := 0; from < w.keys; from += piece {
		w.c.Log(fmt.Sprintf("%d of %d %s keys are there", from, w.keys, w.kind))
		old := w.keys / oldShare
		text := fmt.Sprintf(`INSERT INTO ~.inbox (grp, dedup_key, owner, at) SELECT '%s', %s, substr(sha256(('o' || i)::bytea), 1, 16),
			(extract(epoch FROM now()) * 1e9)::bigint - CASE WHEN i < %d THEN %d ELSE 0 END FROM generate_series(%d, %d) i ORDER BY %s`,
			group, key, old, (2 * window).Nanoseconds(), from, min(from+piece, w.keys)-1, order)
		if order == "1" {
			text, _, _ = strings.Cut(text, " ORDER BY")
		}
		if _, err := w.admin.Exec(ctx, w.text(text)); err != nil {
			return err
		}
	}
	for _, text := range []string{"VACUUM ANALYZE ~.inbox", "CHECKPOINT"} {
		if _, err := w.admin.Exec(ctx, w.text(text)); err != nil {
			return err
		}
	}
	return nil
}

func (w *grown) place(ctx context.Context) (at int64, err error) {
	err = w.admin.QueryRow(ctx, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").Scan(&at)
	return at, err
}

// store notes the place in the log: the tables are there.
func (w *grown) store(ctx context.Context) (rollcall.Store[pgx.Tx], func() error, error) {
	s, done, err := w.postgresHall.store(ctx)
	if err == nil {
		w.before, err = w.place(ctx)
	}
	if err == nil && w.begin != nil {
		w.begin()
	}
	return s, done, err
}

// quiet is a store that does not sweep.
type quiet struct{ rollcall.Store[pgx.Tx] }

// Upkeep is the rest of it.
func (q quiet) Upkeep() rollcall.Upkeep { return unswept{q.Store.Upkeep()} }

type unswept struct{ rollcall.Upkeep }

// Sweep does nothing.
func (unswept) Sweep(context.Context, string, time.Duration) (rollcall.Swept, error) {
	return rollcall.Swept{}, nil
}
