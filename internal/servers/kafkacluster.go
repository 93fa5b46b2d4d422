//go:build linux

package servers

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// KafkaCluster is some Kafka nodes, each broker and controller, that know each
// other. Topics have a replica on up to three nodes and take a write when two
// have it. More than half of the nodes must run; each can be killed, paused and
// restarted by itself.
type KafkaCluster struct {
	// Nodes have the ids 1, 2, 3 …, in this order.
	Nodes []*Server
}

// StartKafka gives the test a cluster of its own whose n nodes all know each
// other, and ends it after the test. The config's settings are those of every
// node, over those of [Kafka].
func StartKafka(t testing.TB, n int, config Config) *KafkaCluster {
	t.Helper()
	cluster, err := &KafkaCluster{}, error(nil)
	for err == nil && len(cluster.Nodes) < n {
		var s *Server
		s, err = create(Kafka, Config{})
		s.removeAfter(t)
		cluster.Nodes = append(cluster.Nodes, s)
	}
	if err == nil {
		err = cluster.start(config)
	}
	if err != nil {
		t.Fatalf("%s, %d nodes: %v", Kafka.Name, n, err)
	}
	return cluster
}

func (c *KafkaCluster) start(config Config) error {
	var voters []string
	for i := range c.Nodes {
		port, err := freePort()
		if err != nil {
			return err
		}
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%s", i+1, port))
	}
	replicas, least := strconv.Itoa(min(len(c.Nodes), 3)), strconv.Itoa(min(len(c.Nodes), 2))
	for i, s := range c.Nodes {
		maps.Copy(s.Settings, map[string]string{
			"node.id": strconv.Itoa(i + 1), "controller.quorum.voters": strings.Join(voters, ","),
			"default.replication.factor": replicas, "min.insync.replicas": least, "offsets.topic.replication.factor": replicas,
			"transaction.state.log.replication.factor": replicas, "transaction.state.log.min.isr": least,
			"share.coordinator.state.topic.replication.factor": replicas, "share.coordinator.state.topic.min.isr": least,
		})
		maps.Copy(s.Settings, config.Settings)
	}
	return c.together((*Server).begin)
}

// Restart starts the nodes that do not run, at once: none serves before most of
// them run. It returns when all know all.
//
// A partition has no leader for now when all its replicas that have everything
// were killed; so after the death of most nodes, restart all.
func (c *KafkaCluster) Restart() error {
	return c.together(func(s *Server) error {
		if s.Pid() != 0 {
			return nil
		}
		return s.Restart()
	})
}

// together does it to all nodes at once, and waits until all know all.
func (c *KafkaCluster) together(do func(s *Server) error) error {
	errs, all := make([]error, len(c.Nodes)), sync.WaitGroup{}
	for i, s := range c.Nodes {
		all.Go(func() { errs[i] = do(s) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.Ready()
}

// Brokers are the addresses of all nodes, those that do not run too.
func (c *KafkaCluster) Brokers() (addrs []string) {
	for _, s := range c.Nodes {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// Ready waits until every running node knows all running nodes, and no other
// one: until a killed or paused one is missed, or one that came back is known.
func (c *KafkaCluster) Ready() error {
	var running []int
	for _, s := range c.Nodes {
		if s.serves() {
			port, _ := strconv.Atoi(s.port())
			running = append(running, port)
		}
	}
	slices.Sort(running)
	var last error
	err := wait(patience, fmt.Sprintf("every broker of %v to know the others", running), func() bool {
		last = nil
		for _, s := range c.Nodes {
			if s.serves() {
				last = errors.Join(last, s.knows(running))
			}
		}
		return last == nil
	})
	return errors.Join(err, last)
}

// serves says that the server neither ended by us nor is paused.
func (s *Server) serves() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.child != nil && s.paused == nil
}

// knows asks the node which brokers there are.
func (s *Server) knows(want []int) error {
	return s.ask(func(c net.Conn) error {
		ports, err := kafkaBrokers(c)
		slices.Sort(ports)
		if err == nil && !slices.Equal(ports, want) {
			err = fmt.Errorf("the broker at %s knows %v, want %v", s.Addr, ports, want)
		}
		return err
	})
}
