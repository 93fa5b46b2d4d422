//go:build linux

package servers_test

import (
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// TestKafkaCluster: three nodes lose one at a time, also the controller, and
// keep what was written.
func TestKafkaCluster(t *testing.T) {
	began := time.Now()
	c := servers.StartKafka(t, 3, servers.Config{})
	t.Logf("three nodes started in %v", time.Since(began).Round(time.Millisecond))
	kafkaTopic(t, c.Brokers(), "kept")
	var want []string
	for i, s := range c.Nodes {
		value := string(rune('a' + i))
		must(t, s.Kill())
		must(t, kafkaWrite(limited(t, time.Minute), t, c.Brokers(), "kept", value)) // two of three are enough
		want = append(want, value)
		must(t, c.Ready())
		began := time.Now()
		must(t, s.Restart())
		must(t, c.Ready())
		t.Logf("node %d back in %v", i+1, time.Since(began).Round(time.Millisecond))
	}
	kafkaWant(t, c.Brokers(), "kept", want...)

	must(t, c.Nodes[0].Pause())
	must(t, c.Ready()) // the others miss it
	must(t, kafkaWrite(limited(t, time.Minute), t, c.Brokers()[1:], "kept", "d"))
	must(t, c.Nodes[0].Resume())
	must(t, c.Ready())
	kafkaWant(t, c.Brokers(), "kept", append(want, "d")...)

	// Without two nodes nothing is taken. Both must come back: which of them may
	// lead depends on who had everything when it was killed.
	must(t, c.Nodes[1].Kill())
	must(t, c.Nodes[2].Kill())
	if err := kafkaWrite(limited(t, time.Second), t, c.Brokers()[:1], "kept", "alone"); err == nil {
		t.Fatal("one of three nodes takes a write")
	}
	must(t, c.Restart())
	must(t, kafkaWrite(limited(t, time.Minute), t, c.Brokers(), "kept", "e"))
}
