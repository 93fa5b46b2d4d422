package main

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// brokerPatience is how long a broker may take to answer at the start.
const brokerPatience = 15 * time.Second

// wrong puts the place to what is wrong with a field of a broker's section.
type wrong func(field, next, what string) error

// inAddress is a mistake in an address of the command line.
func inAddress(_, next, what string) error { return usage(errors.New(what), next) }

// unfitBroker tells a mistake of the user from a broker that is away, or refuses us.
func unfitBroker(field string, bad wrong, err error) error {
	what, next := lastStep(err)
	mistake := errors.Is(err, rollcall.ErrConfig) || errors.Is(err, rollcall.ErrNoDestination)
	if mistake && !refusedUs(err) {
		return bad(field, next, what)
	}
	return &failure{exitServer, errors.New(what), cmp.Or(next, "see that the broker runs and takes this user; nothing was sent or read")}
}

// ended is why run ended by itself: messages that are gone are a finding, a right that
// was taken or a queue that was deleted is the broker's.
func ended(f *pipeline.File, err error) error {
	gone := errors.Is(err, rollcall.ErrNoDestination)
	if f.Source.Embedded != nil || !errors.Is(err, rollcall.ErrDamaged) && !refusedUs(err) && !gone {
		return err
	}
	what, next := lastStep(err)
	if gone || refusedUs(err) {
		return &failure{exitServer, errors.New(what), next}
	}
	return findings(errors.New(what), next)
}

// inFile is a mistake in a section of a pipeline file.
func inFile(f *pipeline.File, section string) wrong {
	return func(field, next, what string) error {
		return f.Problem(strings.TrimSuffix("source."+section+"."+field, "."), next, "%s", what)
	}
}

// lastStep cuts the next step off what the driver says.
func lastStep(err error) (what, next string) {
	text := plain(err)
	if i := strings.LastIndex(text, "; "); i >= 0 {
		return text[:i], text[i+2:]
	}
	return text, ""
}

// refusedUs: a broker knows us, or our right, no more.
func refusedUs(err error) bool {
	return errors.Is(err, kafka.ErrRefused) || errors.Is(err, rabbitmq.ErrRefused) || errors.Is(err, rocketmq.ErrRefused)
}
