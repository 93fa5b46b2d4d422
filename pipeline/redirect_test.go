package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall"
)

// TestRedirect: another destination of the same broker; a name that it does not take is
// refused, and what the file says of its own destination is not done to another one.
func TestRedirect(t *testing.T) {
	parse := func(source string) *File {
		f, err := Parse("rollcall.yaml", []byte(fmt.Sprintf("name: shop\nsource: {%s}\nstore: {sqlite: {}}\neffect: {table: {name: t, mode: insert, columns: {a: payload}}}\n", source)), testEnv())
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	rabbit := `rabbitmq: {addresses: ["mq:5672"], queue: orders, declare: {}}`
	rocket := `rocketmq: {endpoints: ["p:8081"], topic: orders}`
	kafka := `kafka: {brokers: ["k:9092"], topic: orders}`
	log := `embedded: {destination: orders, partitions: 3}`
	for _, c := range []struct {
		source, to, wrong string
		is                func(s *Source) bool
	}{
		{rabbit, "other", "", func(s *Source) bool { return s.RabbitMQ.Queue == "other" && s.RabbitMQ.Declare == nil }},
		{rabbit, "orders", "", func(s *Source) bool { return s.RabbitMQ.Declare != nil }},
		{rabbit, "exchange:shop:eu", "", func(s *Source) bool { return s.RabbitMQ.Queue == "exchange:shop:eu" }},
		{rabbit, "exchange:shop", "no routing key", nil},
		{rocket, "other", "", func(s *Source) bool { return s.RocketMQ.Topic == "other" }},
		{rocket, "a b", "no name that RocketMQ takes", nil},
		{kafka, "other", "", func(s *Source) bool { return s.Kafka.Topic == "other" }},
		{kafka, "a b", "no name that Kafka takes", nil},
		{log, "other", "", func(s *Source) bool { return s.Embedded.Destination == "other" && s.Embedded.Partitions == 0 }},
		{log, "orders", "", func(s *Source) bool { return s.Embedded.Partitions == 3 }},
	} {
		f := parse(c.source)
		err := f.Redirect(c.to)
		switch {
		case c.wrong == "" && (err != nil || !c.is(&f.Source)):
			t.Errorf("%s to %s: %v, %+v", c.source, c.to, err, f.Source)
		case c.wrong != "" && (!errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%s to %s: %v, want %q", c.source, c.to, err, c.wrong)
		}
	}
}

// TestAcceptLost: where something can be removed by age.
func TestAcceptLost(t *testing.T) {
	f := &File{Source: Source{RabbitMQ: &RabbitMQ{Type: "stream"}}}
	if !f.AcceptLost() || !f.Source.RabbitMQ.AcceptLost {
		t.Error("a stream takes it")
	}
	for _, s := range []Source{{RabbitMQ: &RabbitMQ{}}, {RocketMQ: &RocketMQ{}}, {Embedded: &Embedded{}}} {
		if f := (&File{Source: s}); f.AcceptLost() {
			t.Errorf("%+v takes it", s)
		}
	}
}
