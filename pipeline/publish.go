package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

// Publish sends each message on, body and headers as they are: a row of the outbox,
// written in the transaction of the tables and carried by a relay. The row has its
// id and stamp before it is sent first, so that a receiver with rollcall absorbs a
// repeat.
type Publish struct {
	// Destination is another topic of the source's cluster, or another destination
	// of its log. Required.
	Destination string `yaml:"destination,required"`
	// Key is the order scope of what is sent, a source as those of columns.
	// Default: the message's key.
	Key string `yaml:"key"`
	// Kafka is the cluster of the destination. Default: the source's own, or its
	// log.
	Kafka *PublishKafka `yaml:"kafka"`
}

// PublishKafka is a Kafka cluster that is sent to.
type PublishKafka struct {
	// Brokers are some of the cluster's, each host:port. Required.
	Brokers []string `yaml:"brokers,required"`
	// TLS encrypts the connections; {} takes the system's certificates. Default: none.
	TLS *KafkaTLS `yaml:"tls"`
	// SASL is who we are. Default: nobody.
	SASL *KafkaSASL `yaml:"sasl"`
}

// Topic is the destination in its own cluster; nil: it is the source's.
func (p *Publish) Topic() *Kafka {
	if p.Kafka == nil {
		return nil
	}
	return &Kafka{Brokers: p.Kafka.Brokers, Topic: p.Destination, TLS: p.Kafka.TLS, SASL: p.Kafka.SASL}
}

// Publishes are the effects that send messages on.
func (f *File) Publishes() []Publish {
	var out []Publish
	for i := range f.Effect {
		if p := f.Effect[i].Publish; p != nil {
			out = append(out, *p)
		}
	}
	return out
}

// forward is a publish effect, ready.
type forward struct {
	destination string
	key         *effect.Texts // nil: the message's
}

// forwards are the publish effects of a file without mistakes.
func (f *File) forwards() (out []forward) {
	for _, p := range f.Publishes() {
		to := forward{destination: p.Destination}
		if p.Key != "" {
			s, err := effect.ParseSource(p.Key)
			if err != nil {
				panic(fmt.Sprintf("pipeline: a file with mistakes is run: %v", err))
			}
			to.key = effect.NewTexts(s)
		}
		out = append(out, to)
	}
	return out
}

// ourHeaders begins the names of headers that say how a message came here.
const ourHeaders = "rollcall-"

// publishRows are the outbox rows of a message. One without an id gets one in its
// row, with the stamp.
func publishRows(forwards []forward, m *rollcall.Message) ([]rollcall.Message, error) {
	var rows []rollcall.Message
	for _, to := range forwards {
		key := m.Key
		if to.key != nil {
			texts, err := to.key.Of(m)
			if err != nil {
				return nil, rollcall.Dead(fmt.Errorf("publish: key: %w", err))
			}
			key = texts[0]
		}
		var headers []rollcall.Header
		for _, h := range m.Headers {
			if !strings.HasPrefix(h.Name, ourHeaders) {
				headers = append(headers, h)
			}
		}
		rows = append(rows, rollcall.Message{Destination: to.destination, ID: m.ID, Key: key, Headers: headers, Body: m.Body, Time: m.Time})
	}
	return rows, nil
}

// publishes finds what is wrong with the publish effects.
func (c *checker) publishes() {
	seen := map[string]bool{}
	for i := range c.file.Effect {
		e := &c.file.Effect[i]
		if e.Publish == nil {
			continue
		}
		at := fmt.Sprintf("effect[%d].publish", i)
		switch {
		case e.Table != nil || e.HTTP != nil:
			c.problem(at, "make an entry of each: effect: [{table: …}, {publish: …}]", "one entry has publish and another effect")
		case i < c.lastTable():
			c.problem(at, "write the tables first: messages are sent on that took effect there", "publish stands before a table")
		case seen[e.Publish.Destination]:
			c.problem(at+".destination", "keep one of them", "two publish effects have the destination %q", e.Publish.Destination)
		}
		seen[e.Publish.Destination] = true
		c.publish(at, e.Publish)
	}
}

func (c *checker) publish(at string, p *Publish) {
	if _, err := effect.ParseSource(p.Key); err != nil && p.Key != "" {
		c.told(at+".key", "publish: key: ", err)
	}
	if p.circular(&c.file.Source) {
		c.problem(at+".destination", "name another: destination: "+p.Destination+"-done", "publish: %q is the source itself: each message would go round for ever", p.Destination)
	}
	topic := p.Topic()
	switch {
	case topic == nil && c.file.Source.Kafka == nil:
		c.inLog(at+".destination", p.Destination)
		return
	case topic == nil:
		topic = &Kafka{Topic: p.Destination}
	}
	for _, f := range topic.faults() {
		if f.field == "brokers" && p.Kafka == nil {
			continue // the source has them
		}
		field := at + ".kafka." + f.field
		if f.field == "topic" {
			field = at + ".destination"
		}
		c.problem(field, f.next, "publish: %s", f.what)
	}
}

// inLog: a name with a colon is one of httpsend or redisset in the outbox.
func (c *checker) inLog(path, name string) {
	c.named(path, name)
	if strings.Contains(name, ":") {
		c.problem(path, "use letters, digits, - and _", "publish: destination: %q holds a colon", name)
	}
}

// circular: what is sent comes back.
func (p *Publish) circular(s *Source) bool {
	switch {
	case s.Kafka != nil && p.Kafka != nil:
		shared := slices.ContainsFunc(p.Kafka.Brokers, func(b string) bool { return slices.Contains(s.Kafka.Brokers, b) })
		return shared && s.Kafka.Topic == p.Destination
	case p.Kafka != nil:
		return false
	case s.Kafka != nil:
		return s.Kafka.Topic == p.Destination
	}
	return s.Embedded != nil && s.Embedded.Destination == p.Destination
}
