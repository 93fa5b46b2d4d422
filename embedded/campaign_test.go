package embedded_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/embedded"
	"github.com/rollcall-mq/rollcall/verify/model"
)

// The crash campaign: processes are killed and stopped at every step of the
// protocol and at random times, senders too, while one or many senders fill
// the log and four workers in two processes empty it. Effects are judged in a
// ledger without a unique index, against the senders' own histories. A run
// counts only if its faults bit: a process was killed or stopped with messages
// in work.

const ordersPerRun = 640

// attack is one run.
type attack struct {
	name    string
	steps   []string // where victims are killed, one after the other; "" is a random time
	stop    bool     // the last victim is stopped past its lease, then woken
	full    bool     // the disk is full while the victim is at its step, and has room again later
	sender  bool     // a sender is killed after the log stored and before it knew
	senders int
	by      string // of strategies
}

var (
	batchSteps   = []string{"begin", "token", "keys", "behind", "effects", "effect", "rolls", "write", "asides", "counts", "commit", "committed", "settle"}
	rowSteps     = []string{"begin", "token", "claim", "keys", "behind", "effects", "turn", "undone", "counts", "commit", "committed"}
	attemptSteps = []string{"begin", "token", "behind", "known", "turn", "commit", "committed"}
	suspectSteps = []string{"begin", "token", "rolls", "known", "attempts", "commit", "committed"}
	aloneSteps   = []string{"begin", "token", "turn", "commit", "committed"}
)

func attacks() (all []attack) {
	names := []string{"auto", "rolls", "inbox"}
	add := func(a attack) {
		a.by = names[len(all)%len(names)]
		a.senders = 1 + 3*(len(all)%2)
		if a.sender {
			a.by = "auto" // a sender that sends again from its own data needs ids
		}
		all = append(all, a)
	}
	for _, s := range batchSteps {
		add(attack{name: s, steps: []string{s}})
		add(attack{name: s + " twice", steps: []string{s, s}})
	}
	for _, s := range rowSteps {
		add(attack{name: "row " + s, steps: []string{"aside-" + s}})
	}
	for _, s := range attemptSteps {
		add(attack{name: "attempt of a row " + s, steps: []string{"aside-attempt-" + s}})
	}
	for _, s := range suspectSteps {
		add(attack{name: "suspects " + s, steps: []string{"effect", "suspect-" + s}})
	}
	for _, s := range aloneSteps {
		add(attack{name: "alone " + s, steps: []string{"effect", "effect", "effect or alone-" + s}})
	}
	for _, s := range []string{"begin", "settle", "aside-attempt-begin"} { // outside of a transaction
		add(attack{name: "stopped at " + s, steps: []string{s}, stop: true})
		add(attack{name: "killed, then stopped at " + s, steps: []string{"commit", s}, stop: true})
	}
	for _, s := range []string{"begin", "commit", "settle"} {
		add(attack{name: "disk full at " + s, steps: []string{s}, full: true})
	}
	for i := range 6 {
		add(attack{name: fmt.Sprint("sender ", i), sender: true, steps: batchSteps[2*i : 2*i+1]})
	}
	for i := range 14 {
		add(attack{name: fmt.Sprint("at a random time ", i), steps: slices.Repeat([]string{""}, 1+i%3), sender: i%4 == 3})
	}
	return all
}

func TestCrashCampaign(t *testing.T) {
	rounds := 1
	if os.Getenv("ROLLCALL_FULL") != "" {
		rounds = 5
	}
	var bitten, faults, messages atomic.Int64
	t.Run("all", func(t *testing.T) {
		for round := range rounds {
			for i, a := range attacks() {
				t.Run(fmt.Sprintf("%s, %s, round %d", a.name, a.by, round), func(t *testing.T) {
					t.Parallel()
					c := &campaign{t: t, attack: a, random: rand.New(rand.NewPCG(uint64(round), uint64(i)))}
					c.run()
					faults.Add(c.bites)
					bitten.Add(1)
					messages.Add(ordersPerRun)
				})
			}
		}
	})
	t.Logf("%d runs, all bitten, by %d kills and stops with messages in work; %d messages judged by effect", bitten.Load(), faults.Load(), messages.Load())
	if want := int64(rounds * len(attacks())); bitten.Load() == want && (want < 80 || messages.Load() < 50_000) {
		t.Errorf("%d runs and %d messages, want 80 and 50000 at least", want, messages.Load())
	}
}

// campaign is one run on its way.
type campaign struct {
	t      *testing.T
	attack attack
	random *rand.Rand
	folder string
	db     *embedded.DB
	bites  int64
	// company starts the process that works beside the victim. Default: it is there,
	// or comes later.
	company func()
}

func (c *campaign) run() {
	c.folder = filepath.Join(c.t.TempDir(), "data")
	if c.attack.full {
		c.folder = filepath.Join(c.disk(), "data")
	}
	db, err := open(c.folder)
	if err != nil {
		c.t.Fatal(err)
	}
	c.db = db
	c.t.Cleanup(func() { _ = db.Close() })
	if _, err := db.DB().Exec(`CREATE TABLE ledger (n INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER, key TEXT, body TEXT)`); err != nil {
		c.t.Fatal(err)
	}
	senders := c.startSenders()
	// The other process: two workers, never hurt. Where one death is to follow
	// another it comes later, or it would do the victims' work.
	var beside, sleeper *process
	if c.attack.full { // senders are told of a full disk; this run is about workers
		for _, s := range senders {
			s.ended()
		}
		c.fill(c.attack.steps[0])
	} else if len(c.attack.steps) == 1 {
		// After the victim, which would find nothing to do if this one was fast.
		c.company = func() { beside = start(c.t, c.work(job{})) }
		if c.attack.steps[0] == "" {
			c.company()
			c.company = nil
		}
	}
	for i, step := range c.attack.steps {
		if c.attack.full {
			break
		}
		sleeper = c.hurt(step, c.attack.stop && i == len(c.attack.steps)-1)
	}
	if beside == nil {
		beside = start(c.t, c.work(job{}))
	}
	for _, s := range senders {
		s.ended()
	}
	c.drain(beside)
	c.finish()
	if sleeper != nil {
		c.wake(sleeper)
	}
	c.judge(db)
}

func (c *campaign) work(j job) job {
	j.Role, j.Folder, j.Workers, j.By = "work", c.folder, 2, strategies[c.attack.by]
	return j
}

func (c *campaign) history(i int) string {
	return filepath.Join(filepath.Dir(c.folder), fmt.Sprintf("sender-%d.history", i))
}

// startSenders starts them all. The first is killed where the log has stored
// and it does not know yet, and another takes its orders over.
func (c *campaign) startSenders() (all []*process) {
	each := ordersPerRun / c.attack.senders
	for i := range c.attack.senders {
		j := job{Role: "send", Folder: c.folder, First: i*each + 1, Last: (i + 1) * each, History: c.history(i)}
		if i == 0 && c.attack.sender {
			j.Step, j.Nth = "stored", 1+int64(c.random.IntN(8/c.attack.senders))
			p := start(c.t, j)
			p.reached()
			p.kill()
			c.bites++
			j.Step = ""
		}
		all = append(all, start(c.t, j))
	}
	return all
}

// hurt starts a process with workers and kills or stops it, with messages in
// work. A kill at a random time that hits nothing is not counted: the process
// goes on until one does.
func (c *campaign) hurt(step string, stop bool) *process {
	if step == "" {
		c.hurtAnyTime()
		return nil
	}
	if last, is := strings.CutPrefix(step, "effect or "); is {
		c.hurtUntil(last)
		return nil
	}
	p := start(c.t, c.work(job{Step: step, Nth: 1}))
	if c.company != nil {
		c.company()
	}
	p.reached()
	c.bites++
	if !stop {
		p.kill()
		return nil
	}
	c.stopIdle(p)
	time.Sleep(700 * time.Millisecond) // past its lease
	return p
}

// hurtUntil kills at effects until it has killed at a step that only comes
// after two deaths with the same message in work: the two may have had
// messages of different partitions.
func (c *campaign) hurtUntil(last string) {
	const most = 9 // with four partitions one has had two deaths long before
	for range most {
		p := start(c.t, c.work(job{Step: last, Or: "effect", Nth: 1}))
		at := p.reached()
		p.kill()
		c.bites++
		if at == last {
			return
		}
	}
	c.t.Fatalf("killed %d times at an effect, and no process came to %s", most, last)
}

// disk is a small one of its own.
func (c *campaign) disk() string {
	dir := c.t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		c.t.Fatalf("mount: %v (the test needs root)", err)
	}
	c.t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill fills the disk while a process stands at a step with messages in work,
// lets it go on, sees that nothing is done on a full disk, and makes room.
func (c *campaign) fill(step string) {
	p := start(c.t, c.work(job{Step: step, Nth: 1}))
	p.reached()
	ballast := filepath.Join(filepath.Dir(c.folder), "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		c.t.Fatal(err)
	}
	for chunk := make([]byte, 1<<12); err == nil; _, err = f.Write(chunk) {
	}
	_ = f.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		c.t.Fatalf("the disk is not full: %v", err)
	}
	if _, err := io.WriteString(p.stdin, "go on\n"); err != nil {
		c.t.Fatal(err)
	}
	c.bites++
	time.Sleep(300 * time.Millisecond) // what the files still have room for
	before, _ := ledger(c.t, c.db)
	time.Sleep(700 * time.Millisecond)
	after, _ := ledger(c.t, c.db)
	c.t.Logf("process %d on a full disk: %d of %d effects, and no more", p.cmd.Process.Pid, len(after), ordersPerRun)
	if len(after) != len(before) || len(after) >= ordersPerRun-20 {
		c.t.Errorf("%d, then %d effects on a full disk: it was not full", len(before), len(after))
	}
	if err := os.Remove(ballast); err != nil {
		c.t.Fatal(err)
	}
	c.drain(p)
}

// stopIdle stops a process outside of any transaction: it stands at its step,
// but its heartbeat and other workers may be writing. Stopped inside of one it
// would hold everybody up: that limit of SQLite has a test of its own.
func (c *campaign) stopIdle(p *process) {
	for deadline := time.Now().Add(30 * time.Second); ; {
		signal(c.t, p, syscall.SIGSTOP)
		time.Sleep(10 * time.Millisecond) // SIGSTOP reaches every thread
		if c.writable() {
			return
		}
		signal(c.t, p, syscall.SIGCONT)
		if time.Now().After(deadline) {
			c.t.Fatalf("waited 30s to find process %d outside of a transaction", p.cmd.Process.Pid)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// writable reports whether nobody who is stopped holds a lock of the files.
func (c *campaign) writable() bool {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
	defer cancel()
	tx, err := c.db.Store().Begin(ctx)
	if err != nil {
		return false
	}
	_ = tx.Rollback()
	log, err := sql.Open("sqlite", "file:"+filepath.Join(c.folder, embedded.LogFile)+"?_pragma=busy_timeout(1000)&_txlock=immediate")
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	writing, err := log.BeginTx(ctx, nil)
	if err != nil {
		return false
	}
	return writing.Rollback() == nil
}

func (c *campaign) hurtAnyTime() {
	status := filepath.Join(c.t.TempDir(), "status")
	p := start(c.t, c.work(job{Status: status}))
	for deadline := time.Now().Add(30 * time.Second); ; {
		time.Sleep(time.Duration(c.random.IntN(60)) * time.Millisecond)
		signal(c.t, p, syscall.SIGSTOP)
		text, _ := os.ReadFile(status) // not there yet: not at work yet
		var step string
		var n int
		_, err := fmt.Sscan(string(text), &step, &n)
		if err == nil && n > 0 && !strings.HasSuffix(step, "settle") && !strings.HasSuffix(step, "committed") {
			p.kill()
			c.bites++
			c.t.Logf("process %d killed at a random time, after step %s, with %d in work", p.cmd.Process.Pid, step, n)
			return
		}
		signal(c.t, p, syscall.SIGCONT)
		if time.Now().After(deadline) {
			c.t.Fatalf("waited 30s to find process %d with messages in work; last: %q", p.cmd.Process.Pid, text)
		}
	}
}

// drain ends a process in good order.
func (c *campaign) drain(p *process) {
	c.t.Helper()
	if err := p.stdin.(io.Closer).Close(); err != nil {
		c.t.Fatal(err)
	}
	p.ended()
}

// finish works off what is left: four workers in two processes.
func (c *campaign) finish() {
	other := start(c.t, c.work(job{UntilEmpty: true}))
	start(c.t, c.work(job{UntilEmpty: true})).ended()
	other.ended()
}

// wake lets a stopped process go on, with others at work.
func (c *campaign) wake(p *process) {
	signal(c.t, p, syscall.SIGCONT)
	if _, err := io.WriteString(p.stdin, "go on\n"); err != nil {
		c.t.Fatal(err)
	}
	c.finish()
	c.drain(p)
}

// judge compares the ledger with what the senders know to be stored.
func (c *campaign) judge(db *embedded.DB) {
	effects := make(map[string]int)
	lines, _ := ledger(c.t, db)
	for _, line := range lines {
		_, body, _ := strings.Cut(line, " ")
		effects[body]++
	}
	lost, doubled := 0, 0
	for i := range c.attack.senders {
		begun, stored, err := readHistory(c.history(i))
		if err != nil {
			c.t.Fatal(err)
		}
		if len(begun) != len(stored) || len(begun) != ordersPerRun/c.attack.senders {
			c.t.Fatalf("sender %d began %d orders and knows %d to be stored", i, len(begun), len(stored))
		}
		for n := range stored {
			want := 1
			if poison(n) {
				want = 0
			}
			if got := effects[fmt.Sprint(n)]; got < want {
				lost++
				c.t.Errorf("order %d is lost", n)
			} else if got > want {
				doubled++
				c.t.Errorf("order %d took effect %d times, want %d", n, got, want)
			}
		}
	}
	c.judgeAside(db)
	if mayLose, mayDouble, ok := model.Load().May("rollcall auto on X"); !ok || lost > 0 && !mayLose || doubled > 0 && !mayDouble {
		c.t.Errorf("%d lost, %d doubled: outside the model", lost, doubled)
	}
}

// judgeAside: what always fails is dead, each once, and nothing else lies aside.
func (c *campaign) judgeAside(db *embedded.DB) {
	rows, err := db.Store().Asides().List(context.Background(), "ledger", rollcall.AsideFilter{Max: 10 * ordersPerRun,
		States: []rollcall.AsideState{rollcall.AsideWaiting, rollcall.AsideDead, rollcall.AsideParked, rollcall.AsideAttempt}})
	if err != nil {
		c.t.Fatal(err)
	}
	dead := make(map[string]bool)
	for _, r := range rows {
		if r.State != rollcall.AsideDead {
			c.t.Errorf("order %s lies aside as %s: %s", r.Message.Body, r.State, r.Cause)
		}
		dead[string(r.Message.Body)] = true
	}
	want := 0
	for n := 1; n <= ordersPerRun; n++ {
		if poison(n) {
			want++
			if !dead[fmt.Sprint(n)] {
				c.t.Errorf("order %d always fails and does not lie aside", n)
			}
		}
	}
	if len(dead) != want {
		c.t.Errorf("%d orders are dead, want %d", len(dead), want)
	}
}
