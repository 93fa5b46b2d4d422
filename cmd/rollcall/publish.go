package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// forwarding sends what a pipeline publishes; all else goes to rest.
type forwarding struct {
	to   map[string]rollcall.Sender
	own  []rollcall.Sender // of brokers that are open for this only
	shut []func()          // ends them
	rest rollcall.Sender   // nil: there is nothing else
	side string            // the destination of books, on every broker
}

var (
	_ rollcall.Sender       = (*forwarding)(nil)
	_ rollcall.Unrepeatable = (*forwarding)(nil)
)

// openSender is the sender of what a pipeline writes into its outbox; nil when
// that is nothing.
func openSender(ctx context.Context, a *app, p *pipe) (rollcall.Sender, error) {
	rest, err := openRequests(p.file)
	if err != nil || len(p.file.Publishes()) == 0 {
		return rest, err
	}
	s := &forwarding{to: make(map[string]rollcall.Sender), rest: rest, side: p.file.Audit.Side}
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	for i := range p.file.Effect {
		if to := p.file.Effect[i].Publish; to != nil {
			if err := s.open(ctx, a, p, i, to); err != nil {
				return nil, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
			}
		}
	}
	return s, nil
}

// open finds a destination, so that one that is not there is known before anything
// is written for it.
func (s *forwarding) open(ctx context.Context, a *app, p *pipe, i int, to *pipeline.Publish) error {
	bad := func(field, next, what string) error {
		path := strings.TrimSuffix(fmt.Sprintf("effect[%d].publish.%s.%s", i, to.Broker(&p.file.Source), field), ".")
		if field == "topic" {
			path = fmt.Sprintf("effect[%d].publish.destination", i)
		}
		return p.file.Problem(path, next, "%s", what)
	}
	sender, err := s.dial(ctx, a, p, to, bad)
	if err != nil {
		return err
	}
	s.to[to.Destination] = sender
	if _, err := sender.Lanes(ctx, to.Destination); err != nil {
		if to.Broker(&p.file.Source) == "embedded" {
			return err
		}
		return unfitBroker("topic", bad, err)
	}
	return nil
}

// dial connects to the broker of the effect, where it is not the source's.
func (s *forwarding) dial(ctx context.Context, a *app, p *pipe, to *pipeline.Publish, bad wrong) (rollcall.Sender, error) {
	var sender rollcall.Sender
	switch {
	case to.Kafka != nil:
		at := p.file.Beside(*to.Topic())
		cluster, err := openCluster(ctx, a, &at, bad)
		if err != nil {
			return nil, err
		}
		sender, s.shut = cluster.Sender(), append(s.shut, cluster.Close)
	case to.RabbitMQ != nil:
		at := *to.RabbitMQ
		at.TLS = p.file.BesideTLS(at.TLS)
		cluster, err := dialRabbitMQ(ctx, a, at, bad)
		if err != nil {
			return nil, err
		}
		sender, s.shut = cluster.Sender(), append(s.shut, cluster.Close)
	case to.RocketMQ != nil:
		at := *to.RocketMQ
		at.TLS = p.file.BesideTLS(at.TLS)
		cluster, err := dialRocketMQ(ctx, a, at, bad)
		if err != nil {
			return nil, err
		}
		sender, s.shut = cluster.Sender(), append(s.shut, cluster.Close)
	default:
		return p.broker.sender, nil
	}
	s.own = append(s.own, sender)
	return sender, nil
}

// of is the sender of a destination; nil: there is none.
func (s *forwarding) of(destination string) rollcall.Sender {
	if to := s.to[destination]; to != nil {
		return to
	}
	return s.rest
}

// Capabilities is just a name: each destination has its own.
func (s *forwarding) Capabilities() rollcall.Capabilities {
	return rollcall.Capabilities{Broker: "outbox"}
}

// Unrepeatable is what the rest says; a repeat of ours is absorbed by its stamp.
func (s *forwarding) Unrepeatable(destination string) bool {
	u, ok := s.of(destination).(rollcall.Unrepeatable)
	return ok && u.Unrepeatable(destination)
}

// Lanes of a destination.
func (s *forwarding) Lanes(ctx context.Context, destination string) (rollcall.Lanes, error) {
	if destination == s.side {
		return sideLanes{}, nil
	}
	if to := s.of(destination); to != nil {
		return to.Lanes(ctx, destination)
	}
	return nil, unknownDestination(destination)
}

// Publish sends on.
func (s *forwarding) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	if destination == s.side {
		return s.publishBooks(ctx, messages)
	}
	if to := s.of(destination); to != nil {
		return to.Publish(ctx, destination, messages)
	}
	results := make([]rollcall.PublishResult, len(messages))
	for i := range results {
		results[i].Err = unknownDestination(destination)
	}
	return results
}

func unknownDestination(destination string) error {
	return fmt.Errorf("%w: the file has no effect publish: {destination: %s}: add it; the messages behind it wait too", rollcall.ErrTryAgain, destination)
}

// Close ends the connections that are not the source's.
func (s *forwarding) Close(ctx context.Context) error {
	var errs []error
	for _, own := range s.own {
		errs = append(errs, own.Close(ctx))
	}
	for _, shut := range s.shut {
		shut()
	}
	if s.rest != nil {
		errs = append(errs, s.rest.Close(ctx))
	}
	return errors.Join(errs...)
}
