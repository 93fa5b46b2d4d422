package rabbitmq

import (
	"context"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
)

// route is where a destination's messages go.
type route struct{ exchange, key string }

// exchangePrefix marks a destination that is an exchange with a routing key.
const exchangePrefix = "exchange:"

// parse a destination: a queue, or exchange:NAME:KEY.
func parse(destination string) (route, error) {
	r := route{key: destination}
	if rest, ok := strings.CutPrefix(destination, exchangePrefix); ok {
		name, key, found := strings.Cut(rest, ":")
		if !found || name == "" {
			return route{}, configError("destination", destination, "write exchange:NAME:KEY; the key may be empty, the colons may not be missing")
		}
		r = route{name, key}
	}
	if len(r.exchange) > maxName || len(r.key) > maxName || destination == "" {
		return route{}, configError("destination", destination, fmt.Sprintf("names and routing keys have 1 to %d bytes", maxName))
	}
	return r, nil
}

// maxName is the most bytes of a name or routing key.
const maxName = 255

// lane is the only one of a destination: all of it is numbered together.
type lane struct{ route }

// Pick implements rollcall.Lanes.
func (lane) Pick(*rollcall.Message) int32 { return 0 }

// Name implements rollcall.Lanes.
func (l lane) Name(int32) string { return l.exchange + "/" + l.key }

// exists asks for the route's queue or exchange; ErrNoDestination if it is not there.
func (c *Cluster) exists(ctx context.Context, r route) error {
	if r.exchange == "" {
		_, err := c.ready(ctx, r.key)
		return err
	}
	err := c.ask(ctx, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(r.exchange, "", true, false, false, false, nil)
	})
	if err != nil {
		return denied(fmt.Errorf("rabbitmq: exchange %q: %w", r.exchange, err))
	}
	return nil
}
