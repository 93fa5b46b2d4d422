package rabbitmq

import (
	"context"
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
	kind, single, err := c.is(ctx, queue)
	if err == nil {
		facts = append(facts, Fact{of, "x-queue-type", string(kind)}, Fact{of, "x-single-active-consumer", strconv.FormatBool(single)})
	}
	if kind != Stream { // of a stream it is not told
		facts = append(facts, Fact{of, "messages_ready", strconv.Itoa(ready)})
	}
	return append(facts, c.declaredFacts(of, queue)...), nil
}

// declaredFacts are what was declared here, and is so: Declare compares.
func (c *Cluster) declaredFacts(of, queue string) (facts []Fact) {
	c.mu.Lock()
	q, ok := c.declared[queue]
	c.mu.Unlock()
	if !ok {
		return nil
	}
	limit := "none"
	if q.DeliveryLimit > 0 {
		limit = strconv.Itoa(q.DeliveryLimit)
	}
	if q.Type == Quorum || q.Type == "" {
		facts = append(facts, Fact{of, "x-delivery-limit", limit})
	}
	if q.DeadLetter != "" {
		facts = append(facts, Fact{of, "dead letters to", q.DeadLetter})
	}
	if q.MaxAge > 0 {
		facts = append(facts, Fact{of, "x-max-age", q.MaxAge.String()})
	}
	return facts
}
