//go:build linux

package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/verify/check"
	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/history"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// kafkaDemo runs all patterns over a topic and returns what they left behind.
func kafkaDemo(t *testing.T, at *demoKafka, plan *fault.Plan, calm bool) (*demo, []check.Run) {
	t.Helper()
	a := newApp(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})
	d := &demo{app: a, plan: plan, folder: t.TempDir(), calm: calm, kafka: at}
	runs, err := d.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) != 1+len(specimen.Patterns()) {
		t.Fatalf("%d runs", len(runs))
	}
	return d, runs
}

// wantCalm: without faults every pattern is right on this cluster, so what they do
// under faults is the faults' doing.
func wantCalm(t *testing.T, at *demoKafka) {
	t.Helper()
	_, runs := kafkaDemo(t, at, fault.NewPlan(1, fault.Fewest).Calm(), true)
	for i := range runs {
		if v := check.Judge(&runs[i]); !v.Safe() || v.Sent != fault.Fewest || v.Effects != fault.Fewest || v.Killed != 0 {
			t.Errorf("%s without faults: %+v", v.Name, v)
		}
	}
}

// TestDemoKafkaCalm is on the broker of demo --kafka.
func TestDemoKafkaCalm(t *testing.T) {
	t.Parallel()
	at, end, err := startDemoKafka()
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	wantCalm(t, at)
}

// TestDemoRealKafka is the demo on real Kafka, through a run without faults and one
// with: each pattern is seen to lose or to double, and rollcall does neither. The
// ledger has no unique index; the victims are killed with SIGKILL.
func TestDemoRealKafka(t *testing.T) {
	t.Parallel()
	topic := func(name string) *demoKafka {
		at := &demoKafka{[]string{realKafka(t)}, name}
		if err := makeTopic(at.Brokers[0], name, 1); err != nil {
			t.Fatal(err)
		}
		return at
	}
	wantCalm(t, topic("demo-calm"))
	d, runs := kafkaDemo(t, topic("demo-faults"), fault.NewPlan(4, fault.Fewest), false)
	verdicts := make([]check.Verdict, len(runs))
	for i := range runs {
		v := check.Judge(&runs[i])
		verdicts[i] = v
		for _, e := range runs[i].Worker {
			if e.What == history.Kill {
				t.Logf("%s: SIGKILL of process %d %s, in flight: %s", v.Name, e.PID, e.Step, strings.Join(e.Orders, " "))
			}
		}
		t.Logf("%s: sent %d, effects %d, lost %d, doubled %d, kills %d", v.Name, v.Sent, v.Effects, v.Lost, v.Doubled, v.Killed)
		if must := specimen.Expected(v.Name); must.MustLose && v.Lost == 0 || must.MustDouble && v.Doubled == 0 || must == (specimen.Expectation{}) && !v.Safe() {
			t.Errorf("%s: lost %d, doubled %d, expected %+v", v.Name, v.Lost, v.Doubled, must)
		}
	}
	if wrong := objections(verdicts, d.unbitten); len(wrong) > 0 {
		t.Errorf("%+v", wrong)
	}
	if !slices.ContainsFunc(runs[0].Sender, func(e history.Event) bool { return e.What == history.Kill }) {
		t.Error("the sender was never killed")
	}
}
