package rabbitmq

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// getWait is how long the broker may take to say whether there is a message.
const getWait = 5 * time.Second

// nothingToGet asks the queue itself for a message. Its count is not proof that it has
// none: of a quorum queue whose leader does not answer the broker says 0 (measured).
// A single active consumer cannot ask so.
func (s *Source) nothingToGet(ctx context.Context) (bool, error) {
	if s.config.SingleActive {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, getWait)
	defer cancel()
	nothing := false
	err := s.cluster.ask(ctx, func(ch *amqp.Channel) error {
		d, got, err := ch.Get(s.queue, false)
		if err == nil && got {
			err = d.Nack(false, true)
		}
		nothing = !got
		return err
	})
	if err != nil {
		return false, denied(fmt.Errorf("rabbitmq: queue %q: whether it is empty: %w", s.queue, err))
	}
	return nothing, nil
}
