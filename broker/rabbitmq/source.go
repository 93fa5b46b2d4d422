package rabbitmq

import (
	"context"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Source is the receiving half, of one queue. It is safe for concurrent use.
type Source struct {
	cluster *Cluster
	queue   string
	config  SourceConfig
}

var _ rollcall.Source = (*Source)(nil)

// maxHold is the broker's default of consumer_timeout, which nobody can ask it for.
const maxHold = 30 * time.Minute

// Source of a queue. ErrNoDestination when there is no such queue, ErrConfig when it is
// not what the configuration says.
func (c *Cluster) Source(ctx context.Context, queue string, config SourceConfig) (*Source, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	if _, err := c.ready(ctx, queue); err != nil {
		return nil, err
	}
	if err := c.fits(ctx, queue, config); err != nil {
		return nil, err
	}
	return &Source{cluster: c, queue: queue, config: config}, nil
}

// Capabilities is what such a queue can do.
func (s *Source) Capabilities() rollcall.Capabilities {
	can := s.cluster.capabilities()
	can.Late = s.config.Late
	if s.config.Type == Stream {
		can.Exclusive, can.Positions, can.Ordered = true, true, true
		return can
	}
	can.Exclusive, can.SettleOne, can.MaxHold = s.config.SingleActive, true, maxHold
	return can
}

// Subscribe joins the workers of the queue. What is assigned is told later.
func (s *Source) Subscribe(ctx context.Context, request rollcall.SubscribeRequest, owner rollcall.Owner) (rollcall.Subscription, error) {
	if request.Group == "" {
		return nil, configError("group", `""`, "give the group a name")
	}
	if s.config.Type == Stream && s.config.Leases == nil {
		return nil, configError("Leases", "none", "whose a stream is, is a lease in the store: give the store's claims")
	}
	if _, err := s.cluster.ready(ctx, s.queue); err != nil {
		return nil, err
	}
	if s.config.Type == Stream {
		return s.stream(request, owner), nil
	}
	return s.subscribe(request, owner), nil
}

func (s *Source) partition() rollcall.Partition {
	return rollcall.Partition{Destination: s.queue}
}
