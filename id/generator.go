package id

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// ErrBehind: the clock is further behind the newest id than Config.MaxBehind.
// No id was given out. It goes away when the clock is right.
var ErrBehind = errors.New("id: the clock is too far behind")

// Marks keeps how far time was used: a number that only rises. It is safe for
// concurrent use, by several processes too.
type Marks interface {
	// Raise sets the mark of name to the higher of what it is and to, durable
	// when it returns, and returns what it was: 0 for a new name. On an error it
	// may have been raised.
	Raise(ctx context.Context, name string, to int64) (was int64, err error)
}

// Config is the settings of a Generator. The zero value is safe: ids that never
// repeat and stay in order within the process.
type Config struct {
	// Marks remembers across restarts how far time was used. Default: none; after
	// a restart with the clock set back ids sort before older ones, and still
	// differ by 62 random bits.
	Marks Marks
	// Name is the mark's name; generators of one name sort after each other.
	// Letters, digits and . _ - : , at most 100. Default: "default".
	Name string
	// Ahead is how far ahead of its use time is marked at most: a durable write
	// each time. It starts with 1 ms and doubles, so that a process that is
	// killed soon takes little. Default: 1 s.
	Ahead time.Duration
	// MaxBehind is how far the clock may be behind the newest id; further, and
	// Next refuses with ErrBehind. Default: 1 h.
	MaxBehind time.Duration
	// OnBehind is told, once each time, that the clock fell behind the newest id
	// by more than twice Ahead, and by how much: ids go on from there. It must
	// return soon. Default: a warning of slog.Default().
	OnBehind func(by time.Duration)
	// Clock is where time comes from. Default: the system's.
	Clock rollcall.Clock
}

// firstStep is how far ahead the first mark is set.
const firstStep = time.Millisecond

// Generator makes ids. Each is later than the one before, whatever the clock
// does: when it stands or goes back, ids go on a tick at a time. It is safe for
// concurrent use. More than 4096 a millisecond run ahead of the clock.
type Generator struct {
	config Config

	mu     sync.Mutex
	last   int64 // tick of the newest id
	marked int64 // ticks up to here are in the mark, ours to use
	step   int64 // how far the next mark lies ahead
	behind bool  // OnBehind was told
}

// New makes a generator. With Marks it reads the mark and starts above it: above
// every id that any generator of that name gave out before, killed or not.
func New(ctx context.Context, config Config) (*Generator, error) {
	if config.Name == "" {
		config.Name = "default"
	}
	if err := checkName(config.Name); err != nil {
		return nil, err
	}
	if config.Ahead == 0 {
		config.Ahead = time.Second
	}
	if config.MaxBehind == 0 {
		config.MaxBehind = time.Hour
	}
	if config.Ahead < firstStep || config.MaxBehind < 2*config.Ahead {
		return nil, fmt.Errorf("%w: id: Ahead %v and MaxBehind %v: Ahead is at least %v, MaxBehind at least twice Ahead",
			rollcall.ErrConfig, config.Ahead, config.MaxBehind, firstStep)
	}
	if config.OnBehind == nil {
		config.OnBehind = func(by time.Duration) {
			slog.Warn("id: the clock is behind the newest id; ids go on from there", "by", by)
		}
	}
	g := &Generator{config: config, step: ticks(firstStep)}
	if config.Marks != nil {
		was, err := config.Marks.Raise(ctx, config.Name, 0)
		if err != nil {
			return nil, err
		}
		g.last, g.marked = was, was
	}
	return g, nil
}

// Next makes one id. It does input and output only when it has to raise the
// mark. On an error none was given out.
func (g *Generator) Next(ctx context.Context) (ID, error) {
	var one [1]ID
	err := g.fill(ctx, one[:])
	return one[0], err
}

// Take makes n ids, in order, with no other of this generator between them. On
// an error none was given out.
func (g *Generator) Take(ctx context.Context, n int) ([]ID, error) {
	if n < 1 {
		return nil, fmt.Errorf("%w: id: take %d: 1 is the least", rollcall.ErrConfig, n)
	}
	ids := make([]ID, n)
	if err := g.fill(ctx, ids); err != nil {
		return nil, err
	}
	return ids, nil
}

// fill draws the random bits from the system each time, not from a stock: a
// machine that is copied while it runs must not have two programs with the same
// stock.
func (g *Generator) fill(ctx context.Context, ids []ID) error {
	for i := range ids {
		_, _ = rand.Read(ids[i][8:]) // it never fails: the program ends instead
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if err := g.lookBehind(now); err != nil {
		return err
	}
	first := max(now, g.last+1)
	last := first + int64(len(ids)) - 1
	if err := g.mark(ctx, last); err != nil {
		return err
	}
	for i := range ids {
		ids[i].setTick(first + int64(i))
	}
	g.last = last
	return nil
}

func (g *Generator) now() int64 {
	if g.config.Clock != nil {
		return tickOf(g.config.Clock.Now())
	}
	return tickOf(time.Now())
}

// lookBehind compares the clock with the newest id.
func (g *Generator) lookBehind(now int64) error {
	by := g.last - now
	if by <= 0 {
		g.behind = false
		return nil
	}
	if by > ticks(g.config.MaxBehind) {
		return fmt.Errorf("%w: it says %s, %v before the newest id of %q; at most %v are bridged: set the clock right, or wait; no id was given out",
			ErrBehind, timeOf(now), duration(by).Round(time.Millisecond), g.config.Name, g.config.MaxBehind)
	}
	if by > 2*ticks(g.config.Ahead) && !g.behind {
		g.behind = true
		g.config.OnBehind(duration(by))
	}
	return nil
}

func timeOf(tick int64) string { return time.UnixMilli(tick >> tickBits).UTC().Format(time.RFC3339) }

// mark makes sure that the ticks up to last are marked before they are used.
func (g *Generator) mark(ctx context.Context, last int64) error {
	if g.config.Marks == nil || last <= g.marked {
		return nil
	}
	to := last + g.step
	if _, err := g.config.Marks.Raise(ctx, g.config.Name, to); err != nil {
		return err
	}
	g.marked = to
	g.step = min(2*g.step, ticks(g.config.Ahead))
	return nil
}
