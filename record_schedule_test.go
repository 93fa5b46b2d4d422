package rollcall_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/memory"
)

// TestRecordSchedules runs callers of one key in random orders, one step of one
// of them at a time: leases run out at any point, replies are lost, requests do
// not arrive, callers die and sleep, and fn ends in every way. Whatever happens,
// a receiver without a memory sees one effect at most, and what is reported is
// what is there.
func TestRecordSchedules(t *testing.T) {
	const schedules = 4000
	ends := make(map[string]int)
	for seed := range uint64(schedules) {
		for _, honours := range []bool{false, true} {
			s := newSchedule(seed, honours)
			s.run()
			end, err := s.judge()
			if err != nil {
				t.Fatalf("seed %d, receiver honours the key: %v: %v\n%s", seed, honours, err, s.log)
			}
			ends[fmt.Sprintf("honours %v: %s", honours, end)]++
		}
	}
	t.Log(ends)
	for _, end := range []string{"honours false: once", "honours false: parked, done", "honours false: parked, not done", "honours true: once"} {
		if ends[end] < schedules/200 {
			t.Errorf("%d schedules ended %q: the faults hit too little", ends[end], end)
		}
	}
}

const callers = 4

var scheduleKey = rollcall.OnceKey{Scope: "pay", Key: "1"}

// still is a clock that stands: no lease is renewed and none is given up, so
// every caller believes in its lease for ever. Pauses between tries end at once.
type still struct{}

func (still) Now() time.Time { return time.Unix(1_800_000_000, 0) }

func (still) Sleep(ctx context.Context, d time.Duration) error {
	if d < time.Minute {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// fate is what becomes of a step.
type fate int

const (
	arrives fate = iota
	losesReply
	isCut
	dies
)

// schedule is one run. One goroutine at a time moves: that of a caller that was
// given a step, until it asks for the next.
type schedule struct {
	random  *rand.Rand
	honours bool
	db      *memory.Database
	now     time.Time
	steps   [callers]chan fate
	asks    chan bool // true: a caller waits for a step; false: it has ended
	effects int
	known   bool // the receiver has seen the key
	told    []string
	log     string
}

func newSchedule(seed uint64, honours bool) *schedule {
	return &schedule{random: rand.New(rand.NewPCG(seed, 7)), honours: honours, db: memory.NewDatabase(memory.Config{}),
		now: time.Unix(1_800_000_000, 0), asks: make(chan bool)}
}

func (s *schedule) config() rollcall.RecordConfig {
	return rollcall.RecordConfig{Honours: s.honours, Lease: time.Hour, Settle: 24 * time.Hour, Clock: still{}}
}

func (s *schedule) claims() rollcall.Claims {
	store := memory.Open(s.db)
	store.SetNow(func() time.Time { return s.now })
	return store.Claims()
}

// gated are the claims of one caller: every call is a step.
type gated struct {
	rollcall.Claims
	s *schedule
	n int
}

func (g gated) do(what string, call func() error) error {
	f := g.s.step(g.n)
	g.s.log += fmt.Sprintf("%d %s (%d)\n", g.n, what, f)
	switch f {
	case isCut:
		return fmt.Errorf("%w: it did not arrive", rollcall.ErrInDoubt)
	case losesReply:
		_ = call()
		return fmt.Errorf("%w: the reply is lost", rollcall.ErrInDoubt)
	}
	return call()
}

func (g gated) Claim(ctx context.Context, group string, k rollcall.DedupKey, lease time.Duration) (c rollcall.Claim, err error) {
	err = g.do(fmt.Sprintf("claim %x", k[:2]), func() (err error) { c, err = g.Claims.Claim(ctx, group, k, lease); return err })
	if err != nil {
		c = rollcall.Claim{}
	}
	return c, err
}

func (g gated) Renew(ctx context.Context, group string, k rollcall.DedupKey, token rollcall.Token, lease time.Duration) error {
	return g.do(fmt.Sprintf("renew %x", k[:2]), func() error { return g.Claims.Renew(ctx, group, k, token, lease) })
}

func (g gated) Complete(ctx context.Context, group string, k rollcall.DedupKey, token rollcall.Token, result []byte, window time.Duration) error {
	return g.do(fmt.Sprintf("complete %x kind %d", k[:2], result[1]), func() error { return g.Claims.Complete(ctx, group, k, token, result, window) })
}

func (g gated) Release(ctx context.Context, group string, k rollcall.DedupKey, token rollcall.Token) error {
	return g.do(fmt.Sprintf("release %x", k[:2]), func() error { return g.Claims.Release(ctx, group, k, token) })
}

// step waits for the scheduler. Who dies there ends with all that it would do.
func (s *schedule) step(n int) fate {
	s.asks <- true
	f := <-s.steps[n]
	if f == dies {
		select {} // a dead process does nothing more, not even what was deferred
	}
	return f
}

// fn has its effect, or not, and ends in one of all ways.
func (s *schedule) fn(n int) (string, error) {
	s.step(n)
	kind := s.random.IntN(5)
	if kind > 0 && (!s.honours || !s.known) {
		s.effects++
		s.known = true
	}
	s.step(n)
	s.log += fmt.Sprintf("%d fn ends %d\n", n, kind)
	switch kind {
	case 0:
		return "", rollcall.NotDone(errors.New("refused"))
	case 1:
		return "", errors.New("no answer")
	case 2:
		runtime.Goexit()
	}
	return "paid", nil
}

func (s *schedule) call(n int, claims rollcall.Claims) error {
	got, err := rollcall.Record(context.Background(), claims, scheduleKey, s.config(), func(context.Context, rollcall.RecordAttempt) (string, error) {
		return s.fn(n)
	})
	if err == nil && got != "paid" {
		err = fmt.Errorf("result %q", got)
	}
	return err
}

// run gives steps until all callers have ended or died.
func (s *schedule) run() {
	var alive []int
	for n := range callers {
		s.steps[n] = make(chan fate)
		go func() {
			defer func() { s.asks <- false }()
			err := s.call(n, gated{s.claims(), s, n})
			s.log += fmt.Sprintf("%d returns %v\n", n, err)
			if err == nil && s.effects != 1 {
				s.told = append(s.told, fmt.Sprintf("caller %d was told that it is paid, with %d effects", n, s.effects))
			}
		}()
		<-s.asks
		alive = append(alive, n)
	}
	for len(alive) > 0 {
		if s.random.IntN(6) == 0 {
			s.now = s.now.Add(2 * time.Hour)
			s.log += "leases run out\n"
		}
		i := s.random.IntN(len(alive))
		n, f := alive[i], arrives
		switch s.random.IntN(25) {
		case 0, 1:
			f = losesReply
		case 2:
			f = isCut
		case 3:
			f = dies
		}
		s.steps[n] <- f
		if f == dies || !<-s.asks {
			alive = append(alive[:i], alive[i+1:]...)
		}
	}
}

// judge asks as the last caller, when all leases are over.
func (s *schedule) judge() (end string, err error) {
	s.now = s.now.Add(2 * time.Hour)
	_, err = rollcall.Record(context.Background(), s.claims(), scheduleKey, s.config(), func(context.Context, rollcall.RecordAttempt) (string, error) {
		if !s.honours || !s.known {
			s.effects++
		}
		return "paid", nil
	})
	switch {
	case len(s.told) > 0:
		return "", errors.New(s.told[0])
	case s.effects > 1:
		return "", fmt.Errorf("%d effects", s.effects)
	case err == nil && s.effects == 1:
		return "once", nil
	case errors.Is(err, rollcall.ErrParked) && !s.honours && s.effects == 1:
		return "parked, done", nil
	case errors.Is(err, rollcall.ErrParked) && !s.honours:
		return "parked, not done", nil
	}
	return "", fmt.Errorf("%d effects, and the last caller was told %w", s.effects, err)
}
