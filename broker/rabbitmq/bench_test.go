//go:build linux

package rabbitmq_test

import (
	"bytes"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
)

// BenchmarkPublish compares Publish, stamps and returns included, with the best loop on
// the bare client library: persistent, mandatory, batches of 1000 with their confirms
// awaited. They take turns in one run.
func BenchmarkPublish(b *testing.B) {
	const batch, rounds = 1000, 12
	address := real(b)
	ours, theirs := newQueue(b, address, rabbitmq.Queue{}), newQueue(b, address, rabbitmq.Queue{})
	body := bytes.Repeat([]byte("x"), 200)
	s := open(b, address).Sender()
	n := newNumbering(ours)
	ch := bare(b, address)
	if err := ch.Confirm(false); err != nil {
		b.Fatal(err)
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, batch))
	publish := func() time.Duration {
		ms := n.messages(batch)
		for i := range ms {
			ms[i].Body = body
		}
		began := time.Now()
		for _, r := range s.Publish(b.Context(), ours, ms) {
			if r.Fate != rollcall.Stored {
				b.Fatal(r.Err)
			}
		}
		return time.Since(began)
	}
	loop := func() time.Duration {
		began := time.Now()
		for range batch {
			if err := ch.Publish("", theirs, true, false, amqp.Publishing{MessageId: "id-0000000", Timestamp: began, DeliveryMode: amqp.Persistent, Body: body}); err != nil {
				b.Fatal(err)
			}
		}
		for range batch {
			if c := <-confirms; !c.Ack {
				b.Fatal("nack")
			}
		}
		return time.Since(began)
	}
	publish()
	loop()
	for b.Loop() {
		var us, them time.Duration
		for range rounds {
			us += publish()
			them += loop()
		}
		b.ReportMetric(batch*rounds/us.Seconds(), "rollcall-msgs/s")
		b.ReportMetric(batch*rounds/them.Seconds(), "bare-msgs/s")
		b.ReportMetric(100*them.Seconds()/us.Seconds(), "%-of-bare")
	}
}
