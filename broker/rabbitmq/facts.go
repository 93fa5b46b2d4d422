package rabbitmq

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Fact is one thing about the cluster that bears on loss and repeats, as the cluster
// itself told it. What it is worth is for others to say.
type Fact struct {
	// Of is what has it: "cluster", "queue orders".
	Of string
	// Name as the cluster calls it: x-queue-type.
	Name, Value string
}

// Facts of the cluster and of a queue, as far as AMQP tells: no policies, no lengths in
// bytes, no timeouts. What this user may not find out is left out; an error means that
// nothing could be asked.
func (c *Cluster) Facts(ctx context.Context, queue string) ([]Fact, error) {
	ready, err := c.ready(ctx, queue)
	if err != nil {
		return nil, err
	}
	of := "queue " + queue
	facts := []Fact{{"cluster", "version", c.version}, {"cluster", "cluster_name", c.name}}
	kind, args, err := c.is(ctx, queue)
	if err == nil {
		for _, name := range slices.Sorted(maps.Keys(args)) {
			facts = append(facts, Fact{of, name, fmt.Sprint(args[name])})
		}
	}
	if kind != Stream { // of a stream it is not told
		facts = append(facts, Fact{of, "messages_ready", strconv.Itoa(ready)})
	}
	c.mu.Lock()
	q, ok := c.declared[queue]
	c.mu.Unlock()
	if ok { // and is so: Declare compares
		wanted, _ := c.arguments(q)
		for _, name := range slices.Sorted(maps.Keys(wanted)) {
			if _, told := args[name]; !told {
				facts = append(facts, Fact{of, name, fmt.Sprint(wanted[name])})
			}
		}
	}
	return facts, nil
}
