package rocketmq

import (
	"context"
	"errors"
	"fmt"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcall-mq/rollcall"
)

// Source is the receiving half, of one topic. It is safe for concurrent use.
type Source struct {
	cluster *Cluster
	topic   string
	config  SourceConfig
}

var _ rollcall.Source = (*Source)(nil)

// Source of a topic. ErrNoDestination when there is no such topic.
func (c *Cluster) Source(ctx context.Context, topic string, config SourceConfig) (*Source, error) {
	config = config.withDefaults()
	if err := config.check(topic); err != nil {
		return nil, err
	}
	r, err := c.route(ctx, topic)
	if err != nil {
		return nil, err
	}
	if config.FIFO && !r.takes(v2.MessageType_FIFO) {
		return nil, configError("FIFO", fmt.Sprintf("topic %q is not FIFO", topic), "leave FIFO out, or make the topic with -a +message.type=FIFO")
	}
	return &Source{cluster: c, topic: topic, config: config}, nil
}

// Capabilities is what RocketMQ can do. Late is as configured.
func (s *Source) Capabilities() rollcall.Capabilities {
	can := s.cluster.capabilities()
	can.Ordered, can.MaxHold, can.Late = s.config.FIFO, s.config.MaxHold, s.config.Late
	return can
}

// Subscribe joins the group: it returns when a proxy knows us.
func (s *Source) Subscribe(ctx context.Context, request rollcall.SubscribeRequest, _ rollcall.Owner) (rollcall.Subscription, error) {
	if request.Group == "" {
		return nil, configError("group", `""`, "give the group a name")
	}
	r, err := s.cluster.route(ctx, s.topic)
	if err != nil {
		return nil, err
	}
	sub := newSubscription(s, request, s.cluster.session(v2.ClientType_SIMPLE_CONSUMER, s.settings(request.Group)))
	ctx, cancel := context.WithTimeout(ctx, s.cluster.config.Timeout)
	defer cancel()
	for _, p := range r.all() {
		if err := sub.session.stream(p.link).wait(ctx); err != nil {
			sub.session.close(ctx)
			if errors.Is(err, rollcall.ErrNoDestination) {
				err = fmt.Errorf("%w; %s", err, createGroup(request.Group))
			}
			return nil, fmt.Errorf("rocketmq: topic %q, group %q: %w", s.topic, request.Group, err)
		}
	}
	sub.begin(r.all())
	return sub, nil
}

// settings of one member.
func (s *Source) settings(group string) *v2.Settings {
	kind := v2.ClientType_SIMPLE_CONSUMER
	return &v2.Settings{ClientType: &kind, UserAgent: userAgent(), PubSub: &v2.Settings_Subscription{Subscription: &v2.Subscription{
		Group:              s.cluster.resource(group),
		Subscriptions:      []*v2.SubscriptionEntry{{Topic: s.cluster.resource(s.topic), Expression: s.filter()}},
		Fifo:               &s.config.FIFO,
		LongPollingTimeout: durationpb.New(s.config.Poll),
	}}}
}

func (s *Source) filter() *v2.FilterExpression {
	return &v2.FilterExpression{Type: v2.FilterType_TAG, Expression: s.config.Filter}
}

// errOrderly: what the group is, and what we took it for, are not the same.
var errOrderly = errors.New("the server says otherwise")

// orderly looks whether the server takes the group for what we do: else order would be
// promised that nobody keeps, or nobody would know why a message holds others back.
func (s *Source) orderly(group string) func(*v2.Settings) error {
	return func(told *v2.Settings) error {
		is := told.GetSubscription().GetFifo()
		if is == s.config.FIFO {
			return nil
		}
		return configError("FIFO", fmt.Sprintf("%v, and of group %q %v", s.config.FIFO, group, errOrderly),
			fmt.Sprintf("set it to %v, or change the group: mqadmin updateSubGroup -g %s -o %v", is, group, s.config.FIFO))
	}
}

// createGroup is how a group is made. Without -m true a new one may begin at the end, and
// without -r a message is given up after 17 deliveries, to workers that died too.
func createGroup(group string) string {
	return "make it: mqadmin updateSubGroup -n NAMESERVER:9876 -c DefaultCluster -m true -r 1000 -g " + group
}
