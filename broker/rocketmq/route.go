package rocketmq

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/rollcall-mq/rollcall"
)

// route is where a topic lies. It is asked for again after a while, and after trouble.
type route struct {
	mu      sync.Mutex // held while it is asked for: one question at a time
	at      time.Time  // when it was asked for
	places  []place
	types   []v2.MessageType
	turn    int
	missing time.Time // since when there is none, though there was one
}

// place is a broker that has queues of a topic, and the proxy to it.
type place struct {
	link  *link
	queue *v2.MessageQueue // one of its queues
}

// routeAge is when a route is asked for again.
const routeAge = 30 * time.Second

// route of a topic. ErrNoDestination when there is none.
func (c *Cluster) route(ctx context.Context, topic string) (*route, error) {
	c.mu.Lock()
	r := c.routes[topic]
	if r == nil {
		r = new(route)
		c.routes[topic] = r
	}
	c.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() && time.Since(r.at) < routeAge {
		return r, nil
	}
	err := c.ask(ctx, topic, r)
	if err != nil && (len(r.places) == 0 || lasts(err) && !r.away(err)) {
		return nil, err
	}
	return r, nil // an old one, rather than none
}

// away says that a topic that was there is missing, and not for so long that it must be
// gone: see mostAway. The caller holds r.mu.
func (r *route) away(err error) bool {
	if codeOf(err) != v2.Code_TOPIC_NOT_FOUND {
		return false
	}
	if r.missing.IsZero() {
		r.missing = time.Now()
	}
	return time.Since(r.missing) <= mostAway
}

// isAway is away, for who sends.
func (r *route) isAway(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.away(err)
}

// ask for a route. The caller holds r.mu.
func (c *Cluster) ask(ctx context.Context, topic string, r *route) error {
	ctx, cancel := c.sending.call(ctx)
	defer cancel()
	got, err := c.access.stub.QueryRoute(ctx, &v2.QueryRouteRequest{Topic: c.resource(topic), Endpoints: c.access.endpoints})
	if err != nil {
		return fmt.Errorf("rocketmq: topic %q: where it lies: %w", topic, c.access.failed(err))
	}
	if err := told(got.GetStatus()); err != nil {
		return fmt.Errorf("rocketmq: topic %q: %w; %s", topic, err, missing(topic, err))
	}
	places, err := c.places(got.GetMessageQueues())
	if err != nil {
		return fmt.Errorf("rocketmq: topic %q: %w", topic, err)
	}
	if len(places) == 0 {
		return fmt.Errorf("%w: rocketmq: topic %q has no queue that we may use; %s", rollcall.ErrNoDestination, topic, create(topic))
	}
	r.missing = time.Time{}
	r.places, r.at, r.types = places, time.Now(), got.GetMessageQueues()[0].GetAcceptMessageTypes()
	return nil
}

// missing is the next step when a topic is not there.
func missing(topic string, err error) string {
	if codeOf(err) == v2.Code_TOPIC_NOT_FOUND {
		return create(topic)
	}
	return "look at the name of the topic, the rights, and the state of the brokers"
}

// create is how a topic is made: the protocol cannot.
func create(topic string) string {
	return fmt.Sprintf("make it: mqadmin updateTopic -n NAMESERVER:9876 -c DefaultCluster -t %s -a +message.type=NORMAL", topic)
}

// places are one for each broker.
func (c *Cluster) places(queues []*v2.MessageQueue) (out []place, err error) {
	for _, q := range queues {
		name := q.GetBroker().GetName()
		if q.GetPermission() == v2.Permission_NONE || slices.ContainsFunc(out, func(p place) bool { return p.queue.GetBroker().GetName() == name }) {
			continue
		}
		l := c.access
		if e := q.GetBroker().GetEndpoints(); len(e.GetAddresses()) > 0 {
			if l, err = c.link(e); err != nil {
				return nil, err
			}
		}
		out = append(out, place{l, q})
	}
	return out, nil
}

// next is a place to send to: one after the other.
func (r *route) next() *link {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn++
	return r.places[r.turn%len(r.places)].link
}

// all places.
func (r *route) all() []place {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.places
}

// takes says whether the topic takes messages of a type.
func (r *route) takes(kind v2.MessageType) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.types, kind)
}

// stale makes the route be asked for before it is used again.
func (r *route) stale() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() {
		r.at = r.at.Add(-routeAge)
	}
}
