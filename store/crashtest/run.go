package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// Load is one run.
type Load struct {
	Messages int // each is stored, every twentieth twice
	Senders  int
	By       []rollcall.Strategy
	Gather   bool
	Workers  int // of each of two processes
	// Kills of worker processes and of the server, with messages in work.
	WorkerKills, ServerKills int
	// Cut ends all connections every 100 ms while it lasts, this often.
	Cuts int
	// Place is where Storage.Log finds the log. Default: a folder of its own.
	Place string
	// BrokerKills of a broker by Broker, which returns when it is back, with messages in
	// work.
	BrokerKills int
	Broker      func() (what string, err error)
	// Stops of a worker process by SIGSTOP with messages in work, for so long that
	// others take over: when it goes on it must be fenced. Default: none.
	Stops   int
	StopFor time.Duration
	// Sending goes on while there are faults, with a pause of Pace after each thousand
	// as long as there are. Default: all is sent before.
	Sending bool
	Pace    time.Duration
}

// Run works a load off, with its faults, and judges.
func Run[X any](t *testing.T, s Storage[X], server *servers.Server, schema string, load Load) {
	r := &run[X]{t: t, s: s, server: server, load: load, random: rand.New(rand.NewPCG(1, uint64(load.Messages)))}
	r.job = job{Folder: filepath.Join(t.TempDir(), "log"), URL: server.URL(), Schema: schema, Workers: load.Workers, By: load.By, Gather: load.Gather}
	if load.Place != "" {
		r.job.Folder = load.Place
	}
	sent := make(chan struct{})
	r.healed = make(chan struct{})
	go func() {
		defer close(sent)
		r.send()
	}()
	if !load.Sending {
		<-sent
	}
	for i := range r.processes {
		r.processes[i] = start(t, r.job)
	}
	begun := time.Now()
	r.hurt()
	close(r.healed)
	<-sent
	r.rest(begun)
	r.judge()
}

type run[X any] struct {
	t         *testing.T
	s         Storage[X]
	server    *servers.Server
	load      Load
	random    *rand.Rand
	job       job
	processes [2]*process
	healed    chan struct{} // closed after the last fault
}

// partOf is how many messages are sent at a time: few, for a worker to be at work almost
// always while there is a pause after each, and a fault not to wait for the next.
const partOf = 200

// send stores the messages; some come twice, as from a sender that lost its
// confirmations.
func (r *run[X]) send() {
	_, sender, closing, err := r.s.Log(r.job.Folder)
	if err != nil {
		r.t.Error(err)
		return
	}
	lives := make([]rollcall.Life, r.load.Senders)
	numbers := make(map[rollcall.Scope]uint64)
	for i := range lives {
		lives[i] = rollcall.NewLife()
	}
	lanes, err := sender.Lanes(context.Background(), destination)
	if err != nil {
		r.t.Error(err)
		return
	}
	var messages []rollcall.Message
	for n := range r.load.Messages {
		m := rollcall.Message{ID: rollcall.MessageID(fmt.Sprint("order-", n)), Key: fmt.Sprint("k", n%211), Body: fmt.Append(nil, n),
			Stamp: rollcall.Stamp{Life: lives[n%len(lives)], Origin: rollcall.OriginOf(destination), OwnID: true}}
		m.Partition = lanes.Pick(&m)
		m.Stamp.Lane = uint32(m.Partition)
		numbers[rollcall.SenderScope(m.Stamp)]++
		m.Stamp.Sequence = numbers[rollcall.SenderScope(m.Stamp)]
		messages = append(messages, m)
		if n%20 == 0 {
			messages = append(messages, m)
		}
	}
	publisher := rollcall.NewPublisher(sender, rollcall.PublisherConfig{Timeout: patience})
	for len(messages) > 0 {
		part := messages[:min(partOf, len(messages))]
		for _, result := range publisher.Publish(context.Background(), destination, part...) {
			if result.Fate != rollcall.Stored {
				r.t.Error(result.Err)
				return
			}
		}
		messages = messages[len(part):]
		if r.load.Pace > 0 {
			select {
			case <-time.After(r.load.Pace * partOf / 1000):
			case <-r.healed:
			}
		}
	}
	if err := errors.Join(publisher.Close(context.Background()), closing()); err != nil {
		r.t.Error(err)
	}
}

// hurt kills and cuts while there is work.
func (r *run[X]) hurt() {
	faults := strings.Repeat("w", r.load.WorkerKills) + strings.Repeat("s", r.load.ServerKills) + strings.Repeat("c", r.load.Cuts) + strings.Repeat("b", r.load.BrokerKills) + strings.Repeat("z", r.load.Stops)
	order := []byte(faults)
	r.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, fault := range order {
		time.Sleep(time.Duration(50+r.random.IntN(150)) * time.Millisecond)
		switch fault {
		case 'w':
			r.killWorker()
		case 's':
			r.whileInWork(r.killServer)
		case 'z':
			r.stopWorker()
		case 'b':
			r.whileInWork(r.killBroker)
		case 'c':
			if err := r.s.CutAll(r.t.Context(), r.job.URL); err != nil {
				r.t.Fatalf("cut all connections: %v", err)
			}
		}
	}
}

// killWorker kills a process that has messages in work, and starts another.
func (r *run[X]) killWorker() {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Duration(r.random.IntN(10)) * time.Millisecond) {
		i := r.random.IntN(len(r.processes))
		if r.processes[i].killInWork() {
			r.processes[i] = start(r.t, r.job)
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("waited %v for a process with messages in work: the load is too small for its faults", patience)
		}
	}
}

// stopWorker stops a process that has messages in work until others have its
// partitions, and waits until it was fenced.
func (r *run[X]) stopWorker() {
	for deadline := time.Now().Add(patience); ; runtime.Gosched() { // without a pause: the steps are over in less than a millisecond
		if r.processes[r.random.IntN(len(r.processes))].stopInWork(r.load.StopFor) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("waited %v for a process with messages in work: the load is too small for its faults", patience)
		}
	}
}

// whileInWork does it while a process has messages in work.
func (r *run[X]) whileInWork(kill func(step string, n int)) {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if step, n := r.processes[r.random.IntN(len(r.processes))].at(); n > 0 {
			kill(step, n)
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("waited %v for a process with messages in work: the load is too small for its faults", patience)
		}
	}
}

func (r *run[X]) killServer(step string, n int) {
	pid := r.server.Pid()
	if err := r.server.Kill(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("server (pid %d) killed while a worker was after step %s with %d in work", pid, step, n)
	time.Sleep(50 * time.Millisecond)
	if err := r.server.Restart(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *run[X]) killBroker(step string, n int) {
	what, err := r.load.Broker()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("%s while a worker was after step %s with %d in work", what, step, n)
}

// rest lets the processes finish: they drain, then two others empty the log.
func (r *run[X]) rest(begun time.Time) {
	r.job.Until = true
	last := [2]*process{start(r.t, r.job), start(r.t, r.job)}
	for _, p := range r.processes {
		if err := p.stdin.Close(); err != nil {
			r.t.Fatal(err)
		}
		p.ended()
	}
	for _, p := range last {
		p.ended()
	}
	r.t.Logf("%d messages by 2 processes with %d workers each, %d worker kills, %d server kills, %d cuts: %.1f s",
		r.load.Messages, r.load.Workers, r.load.WorkerKills, r.load.ServerKills, r.load.Cuts, time.Since(begun).Seconds())
}

// judge counts every effect.
func (r *run[X]) judge() {
	effects, err := r.s.Ledger(context.Background(), r.job.URL, r.job.Schema)
	if err != nil {
		r.t.Fatal(err)
	}
	lost, doubled, foreign := 0, 0, 0
	for n := range int64(r.load.Messages) {
		switch times := effects[n]; {
		case times == 0:
			lost++
		case times > 1:
			doubled++
		}
		delete(effects, n)
	}
	foreign = len(effects)
	r.t.Logf("%d lost, %d doubled", lost, doubled)
	if lost+doubled+foreign > 0 {
		r.t.Errorf("%d lost, %d doubled, %d that nobody sent, of %d messages", lost, doubled, foreign, r.load.Messages)
	}
}
