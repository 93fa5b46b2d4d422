package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// channel is the other end of a delivery: it writes down what it is told, and
// how many sales another connection sees at that moment.
type channel struct {
	t    *testing.T
	seen *shop
	told []string
}

func (c *channel) Ack(uint64, bool) error { return c.tell("ack") }
func (c *channel) Nack(_ uint64, _, again bool) error {
	return c.tell(fmt.Sprint("nack again ", again))
}
func (c *channel) Reject(_ uint64, again bool) error {
	return c.tell(fmt.Sprint("reject again ", again))
}

func (c *channel) tell(what string) error {
	var sales int
	if err := c.seen.store.DB().QueryRow(`SELECT count(*) FROM sale`).Scan(&sales); err != nil {
		c.t.Error(err)
	}
	c.told = append(c.told, fmt.Sprint(what, ", sales ", sales))
	return nil
}

// TestDeliveries: what comes twice takes effect once and is acked twice, each
// time after COMMIT; what fails is given back, what is of no use is not.
func TestDeliveries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	var shops [2]*shop
	for i := range shops {
		s, err := open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.store.Close() })
		shops[i] = s
	}
	c := &channel{t: t, seen: shops[1]}
	deliver := func(ctx context.Context, tag uint64, body string) error {
		return shops[0].deliver(ctx, amqp.Delivery{Acknowledger: c, DeliveryTag: tag, Redelivered: tag > 1, Body: []byte(body)})
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, d := range []struct {
		ctx  context.Context
		body string
		fine bool
	}{
		{stopped, `{"Number":"1","Cents":300}`, false},
		{t.Context(), `{"Number":"1","Cents":300}`, true},
		{t.Context(), `{"Number":"1","Cents":300}`, true}, // the ack was lost
		{t.Context(), `{"Number":"2","Cents":500}`, true},
		{t.Context(), `{"Number":"2","Cents":501}`, false},
		{t.Context(), `no order`, false},
	} {
		if err := deliver(d.ctx, uint64(len(c.told)+1), d.body); (err == nil) != d.fine {
			t.Errorf("%s: %v", d.body, err)
		}
	}
	want := []string{"nack again true, sales 0", "ack, sales 1", "ack, sales 1", "ack, sales 2", "reject again false, sales 2", "reject again false, sales 2"}
	if !slices.Equal(c.told, want) {
		t.Fatalf("the channel was told\n%q, want\n%q", c.told, want)
	}
}
