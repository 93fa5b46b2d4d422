//go:build linux

package rabbitmq_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// TestOneOfThree: the node that leads the queue, and to which all are connected first, is
// killed while it is sent to and received from. The others go on, nothing is lost.
func TestOneOfThree(t *testing.T) {
	t.Parallel()
	nodes := servers.StartRabbitMQ(t, 3, servers.Config{})
	addresses := strings.Join(nodes.Addrs(), ",")
	queue := newQueue(t, nodes.Addrs()[0], rabbitmq.Queue{})
	time.Sleep(settled)
	sub := subscribe(t, source(t, open(t, addresses), queue, rabbitmq.SourceConfig{Prefetch: 100}), nil)
	l := &load{s: open(t, addresses).Sender(), n: newNumbering(queue), fates: newTally()}
	var all sync.WaitGroup
	stop, halt := context.WithCancel(t.Context())
	all.Go(func() { l.run(stop) })
	came := make(map[string]int)
	receive := func(n int) {
		for got := 0; got < n; {
			ds := fetch(t, sub, 1)
			for _, d := range ds {
				came[string(d.Body)]++
			}
			got += len(ds)
			sub.Settle(t.Context(), settle(queue, rollcall.Ack, ds...))
		}
	}
	receive(500)
	pid, before := nodes.Nodes[0].Pid(), l.count(rollcall.Stored)
	if err := nodes.Nodes[0].Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	wait(t, "the others to take messages", func() bool { return l.count(rollcall.Stored) > before+500 })
	back := time.Since(killed)
	receive(500)
	halt()
	all.Wait()
	missing := func() (n int) {
		for body := range l.fates[rollcall.Stored] {
			if came[body] == 0 {
				n++
			}
		}
		return n
	}
	for missing() > 0 {
		receive(1)
	}
	l.fates.check(t, came)
	t.Logf("pid %d killed with %d stored, %d in doubt; 500 more were stored after %v; %d stored, %d came, none lost", pid, before, l.count(rollcall.Unknown), back, l.count(rollcall.Stored), len(came))
}
