package pipeline

import (
	"fmt"

	"github.com/rollcall-mq/rollcall"
)

// Redirect takes another destination of the source's broker, which is sent to: the file
// stays as it is. The error is rollcall.ErrConfig.
func (f *File) Redirect(to string) error {
	var faults []fault
	switch s := &f.Source; {
	case s.Kafka != nil:
		s.Kafka.Topic = to
		faults = s.Kafka.faults()
	case s.RabbitMQ != nil && s.RabbitMQ.Queue != to:
		s.RabbitMQ.Queue, s.RabbitMQ.Declare = to, nil
		if bad := rabbitmqDestination(to); bad != nil {
			faults = append(faults, *bad)
		}
	case s.RocketMQ != nil:
		s.RocketMQ.Topic = to
		faults = s.RocketMQ.faults()
	case s.Embedded != nil && s.Embedded.Destination != to:
		s.Embedded.Destination, s.Embedded.Partitions = to, 0
	}
	for _, bad := range faults {
		return fmt.Errorf("%w: %s; %s", rollcall.ErrConfig, bad.what, bad.next)
	}
	return nil
}

// AcceptLost goes on behind messages that are gone. False: the source has no such setting.
func (f *File) AcceptLost() bool {
	switch s := &f.Source; {
	case s.Kafka != nil:
		s.Kafka.AcceptLost = true
	case s.RabbitMQ != nil && s.RabbitMQ.IsStream():
		s.RabbitMQ.AcceptLost = true
	default:
		return false
	}
	return true
}
