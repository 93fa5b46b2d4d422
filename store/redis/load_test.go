//go:build linux

package redis_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/redis"
)

// TestKilledUnderLoad: four workers in two processes claim, do and complete
// 50,000 keys, a hundred a turn, while Redis, which syncs every claim, is killed
// again and again. The effects are lines of a plain file. None is made twice.
func TestKilledUnderLoad(t *testing.T) {
	const processes, kills = 2, 5
	server := private(t, nil)
	ledger, trouble := filepath.Join(t.TempDir(), "ledger"), filepath.Join(t.TempDir(), "trouble")
	var children []*exec.Cmd
	var outs [processes]bytes.Buffer
	began := time.Now()
	for i := range processes {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), workerAddr+"="+server.Addr, workerLedger+"="+ledger, workerTrouble+"="+trouble)
		child.Stdout, child.Stderr = &outs[i], os.Stderr
		must(t, child.Start())
		t.Cleanup(func() { _ = child.Process.Kill() }) // when the test failed
		children = append(children, child)
	}
	for n := range kills {
		waitFor(t, time.Minute, "the workers to be in the middle", func() bool {
			return len(lines(t, ledger)) > (n+1)*loadKeys/(kills+2)
		})
		before := len(lines(t, trouble))
		must(t, server.Kill())
		waitFor(t, time.Minute, "all workers to notice", func() bool {
			names := make(map[string]bool)
			for _, line := range lines(t, trouble)[before:] {
				names[strings.Fields(line)[0]] = true
			}
			return len(names) == processes*loadWorkers
		})
		done := len(lines(t, ledger))
		if done >= loadKeys {
			t.Fatalf("all %d were done before kill %d: nothing was killed in the middle", done, n+1)
		}
		must(t, server.Restart())
	}
	var sum tally
	for i, child := range children {
		if err := child.Wait(); err != nil {
			t.Fatalf("a worker process: %v\n%s", err, outs[i].String())
		}
		var one tally
		must(t, json.Unmarshal(outs[i].Bytes(), &one))
		sum.add(one)
	}
	t.Logf("%d kills in %v: %+v", kills, time.Since(began).Round(time.Millisecond), sum)
	judge(t, lines(t, ledger), sum)
}

// TestForgets: the grade says beforehand what a kill of Redis doubles.
func TestForgets(t *testing.T) {
	for only, want := range map[string]struct {
		grade redis.Durability
		state rollcall.ClaimState
	}{"yes": {redis.DurabilityEvery, rollcall.ClaimDone}, "no": {redis.DurabilityNone, rollcall.ClaimFresh}} {
		server := private(t, map[string]string{"appendonly": only})
		s := open(t, redis.Config{Addr: server.Addr})
		if s.Durability() != want.grade {
			t.Errorf("appendonly %s: durability %q, want %q", only, s.Durability(), want.grade)
		}
		must(t, s.Complete(t.Context(), group, key(1), wantFresh(t, s, key(1)), nil, time.Hour))
		must(t, server.Kill())
		must(t, server.Restart())
		got, err := s.Claim(t.Context(), group, key(1), time.Minute)
		if err != nil || got.State != want.state {
			t.Errorf("appendonly %s: %+v %v after the kill, want state %d", only, got, err, want.state)
		}
	}
}

// judge counts the effects of each key.
func judge(t *testing.T, effects []string, sum tally) {
	t.Helper()
	count := make(map[string][]string)
	for _, line := range effects {
		count[strings.Fields(line)[0]] = append(count[strings.Fields(line)[0]], line)
	}
	for k, all := range count {
		if len(all) > 1 {
			t.Errorf("key %s was done %d times: %q", k, len(all), all)
		}
	}
	if len(count) != loadKeys || int64(len(effects)) != sum.Done {
		t.Errorf("%d keys were done, %d effects, %d told: want %d", len(count), len(effects), sum.Done, loadKeys)
	}
	if sum.Completed != sum.Done || sum.Fenced != 0 {
		t.Errorf("%d done, %d completed, %d fenced", sum.Done, sum.Completed, sum.Fenced)
	}
	if sum.ClaimsInDoubt+sum.CompletionsDoubt == 0 {
		t.Error("no call was in doubt: the kills hit nothing")
	}
}

func (s *tally) add(o tally) {
	s.Done += o.Done
	s.Completed += o.Completed
	s.Again += o.Again
	s.Fenced += o.Fenced
	s.ClaimsInDoubt += o.ClaimsInDoubt
	s.CompletionsDoubt += o.CompletionsDoubt
	s.Refused += o.Refused
	s.OthersAlreadyDone += o.OthersAlreadyDone
}

// lines of a file that others append to; none while there is no file.
func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	all := strings.Split(string(text), "\n")
	return all[:len(all)-1]
}
