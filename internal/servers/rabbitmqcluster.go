//go:build linux

package servers

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
)

// RabbitMQCluster is some nodes of RabbitMQ that know each other. Each can be killed,
// paused and restarted by itself.
type RabbitMQCluster struct{ Nodes []*Server }

// StartRabbitMQ gives the test a cluster of its own whose n nodes all know each other,
// and ends it after the test. The config's settings are those of every node, over those
// of [RabbitMQ].
func StartRabbitMQ(t testing.TB, n int, config Config) *RabbitMQCluster {
	t.Helper()
	c, err := &RabbitMQCluster{}, error(nil)
	for err == nil && len(c.Nodes) < n {
		var s *Server
		s, err = create(RabbitMQ, Config{})
		s.removeAfter(t)
		c.Nodes = append(c.Nodes, s)
	}
	if err == nil {
		err = c.start(config)
	}
	if err != nil {
		t.Fatalf("%s, %d nodes: %v", RabbitMQ.Name, n, err)
	}
	return c
}

// start gives the nodes what they share. A node joins those that run: the first one
// begins alone.
func (c *RabbitMQCluster) start(config Config) error {
	together := map[string]string{"cookie": newCookie(), "cluster_formation.peer_discovery_backend": "classic_config", "cluster_partition_handling": "ignore"}
	for i, s := range c.Nodes {
		together[fmt.Sprintf("cluster_formation.classic_config.nodes.%d", i+1)] = s.Name()
	}
	for _, s := range c.Nodes {
		maps.Copy(s.Settings, together)
		maps.Copy(s.Settings, config.Settings)
	}
	if err := c.Nodes[0].begin(); err != nil {
		return err
	}
	return c.together(c.Nodes[1:], (*Server).begin)
}

// Restart starts the nodes that do not run, at once: after the death of all, one may wait
// for another. It returns when all know all.
func (c *RabbitMQCluster) Restart() error {
	return c.together(c.Nodes, func(s *Server) error {
		if s.Pid() != 0 {
			return nil
		}
		return s.Restart()
	})
}

// together does it to the nodes at once, and waits until all know all.
func (c *RabbitMQCluster) together(nodes []*Server, do func(s *Server) error) error {
	errs, all := make([]error, len(nodes)), sync.WaitGroup{}
	for i, s := range nodes {
		all.Go(func() { errs[i] = do(s) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.Ready()
}

// Name is that by which the nodes know this one.
func (s *Server) Name() string { return "r" + s.port() + "@localhost" }

// Addrs are the addresses of all nodes, those that do not run too.
func (c *RabbitMQCluster) Addrs() (addrs []string) {
	for _, s := range c.Nodes {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// Ready waits until every running node says that just these run.
func (c *RabbitMQCluster) Ready() error {
	running := 0
	for _, s := range c.Nodes {
		if s.serves() {
			running++
		}
	}
	var last error
	err := wait(patience, fmt.Sprintf("%d nodes of RabbitMQ to know each other", running), func() bool {
		last = nil
		for _, s := range c.Nodes {
			if s.serves() {
				last = errors.Join(last, s.sees(running))
			}
		}
		return last == nil
	})
	return errors.Join(err, last)
}

// sees asks the node how many run.
func (s *Server) sees(want int) error {
	data, err := s.manage("GET", "/api/nodes?columns=name,running", "")
	if err != nil {
		return err
	}
	var nodes []struct{ Running bool }
	if err := json.Unmarshal(data, &nodes); err != nil {
		return err
	}
	n := 0
	for _, node := range nodes {
		if node.Running {
			n++
		}
	}
	if n != want {
		return fmt.Errorf("the node at %s sees %d running, want %d", s.Addr, n, want)
	}
	return nil
}
