package crashtest

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// RecordLoad is one run of RunRecord.
type RecordLoad struct {
	Keys    int
	Honours bool // the receiver does
	// Kills of worker processes between an effect and its answer, Sleeps of one for
	// longer than its lease, ServerKills while it is asked.
	Kills, Sleeps, ServerKills int
}

// RunRecord lets two processes with two workers each do all keys by
// rollcall.Record, kills and stops them, kills the claims' server, and counts
// every effect at the receiver.
func RunRecord(t *testing.T, open OpenClaims, server *servers.Server, place string, load RecordLoad) {
	b := &bank{honours: load.Honours, ledger: make(map[string][]string), known: make(map[string]string)}
	receiver := httptest.NewServer(b)
	defer receiver.Close()
	folder := t.TempDir()
	r := &recordRun{t, open, server, load, b, folder,
		recordJob{server.URL(), place, receiver.URL, load.Honours, load.Keys, filepath.Join(folder, "said")}, [2]*process{}}
	for i := range r.processes {
		r.processes[i] = r.start()
	}
	r.hurt()
	for _, p := range r.processes {
		p.ended()
	}
	if load.Honours {
		r.judge()
		return
	}
	r.decide()
	for i := range r.processes { // again, all of it
		r.processes[i] = r.start()
	}
	for _, p := range r.processes {
		p.ended()
	}
	r.judge()
}

type recordRun struct {
	t         *testing.T
	open      OpenClaims
	server    *servers.Server
	load      RecordLoad
	bank      *bank
	folder    string
	job       recordJob
	processes [2]*process
}

func (r *recordRun) start() *process {
	r.t.Helper()
	text, err := json.Marshal(r.job)
	if err != nil {
		r.t.Fatal(err)
	}
	p := &process{t: r.t, cmd: exec.Command(os.Args[0]), done: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), recordEnv+"="+string(text))
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	r.t.Cleanup(p.kill)
	return p
}

// hurt does the faults, each while a call is between its effect and its answer.
func (r *recordRun) hurt() {
	for n := range r.load.Kills + r.load.Sleeps + r.load.ServerKills {
		for deadline := time.Now().Add(10 * time.Second); !r.bank.busy(); time.Sleep(100 * time.Microsecond) {
			if time.Now().After(deadline) {
				r.t.Fatal("waited 10s for a call in work: the load is too small for its faults")
			}
		}
		p := &r.processes[n%2]
		switch {
		case n < r.load.Kills:
			(*p).kill()
			*p = r.start()
		case n < r.load.Kills+r.load.Sleeps:
			_ = (*p).cmd.Process.Signal(syscall.SIGSTOP)
			time.Sleep(recordLease + recordLease/2)
			_ = (*p).cmd.Process.Signal(syscall.SIGCONT)
		default:
			if err := r.server.Kill(); err != nil {
				r.t.Fatal(err)
			}
			if err := r.server.Restart(); err != nil {
				r.t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// decide is the operator: it asks the receiver about each key that is parked.
func (r *recordRun) decide() {
	receipts, parked, err := said(r.folder)
	if err != nil {
		r.t.Fatal(err)
	}
	claims, closing, err := r.open(context.Background(), r.job.URL, r.job.Place)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = closing() }()
	settled, redriven, lifted := 0, 0, 0
	for key := range r.load.Keys {
		effects := r.bank.effects(key)
		switch {
		case len(effects) > 1:
			r.t.Errorf("key %d took effect %d times", key, len(effects))
		case !parked[key] && (receipts[key] == "" || len(effects) == 0):
			r.t.Errorf("key %d took effect %d times, was told %q, and is not parked", key, len(effects), receipts[key])
		case parked[key] && receipts[key] != "":
			lifted++ // its owner came back and said what had happened
		case parked[key] && len(effects) == 1:
			settled++
			err = rollcall.SettleRecord(r.t.Context(), claims, recordKey(key), rollcall.RecordConfig{}, effects[0])
		case parked[key]:
			redriven++
			err = rollcall.RedriveRecord(r.t.Context(), claims, recordKey(key), rollcall.RecordConfig{})
		}
		if err != nil { // its owner may have said it after all others had asked
			r.t.Logf("key %d: %v", key, err)
			err = nil
		}
	}
	if len(parked) == 0 {
		r.t.Error("nothing is parked: the faults hit nothing")
	}
	r.t.Logf("%d keys: %d parked, of these %d settled by asking the receiver, %d redriven, %d told later by their owner",
		r.load.Keys, len(parked), settled, redriven, lifted)
	if err := os.Remove(r.job.Said); err != nil {
		r.t.Fatal(err)
	}
}

// judge counts every effect, when all is done.
func (r *recordRun) judge() {
	receipts, parked, err := said(r.folder)
	if err != nil {
		r.t.Fatal(err)
	}
	lost, doubled := 0, 0
	for key := range r.load.Keys {
		effects := r.bank.effects(key)
		switch {
		case len(effects) == 0:
			lost++
		case len(effects) > 1:
			doubled++
		}
		if receipts[key] == "" || len(effects) == 1 && receipts[key] != effects[0] {
			r.t.Errorf("key %d: was told %q, want %v", key, receipts[key], effects)
		}
	}
	r.t.Logf("%d keys by 2 processes with %d workers each, %d kills, %d sleeps, %d server kills: %d calls, %d repeats absorbed by the receiver: %d lost, %d doubled",
		r.load.Keys, recordWorkers, r.load.Kills, r.load.Sleeps, r.load.ServerKills, r.bank.calls, r.bank.absorbs, lost, doubled)
	if lost+doubled+len(parked) > 0 {
		r.t.Errorf("%d lost, %d doubled, %d parked, of %d keys", lost, doubled, len(parked), r.load.Keys)
	}
	if r.load.Honours && r.bank.absorbs == 0 {
		r.t.Error("no repeat came: the faults hit nothing")
	}
}
