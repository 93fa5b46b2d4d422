package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

// Publish sends each message on, body and headers as they are: a row of the outbox,
// written in the transaction of the tables and carried by a relay. Id and stamp are the
// message's own; one without gets them in its row before it is sent first. So a receiver
// with rollcall absorbs a repeat, and a group that reads first the one broker and then
// the other does nothing twice.
type Publish struct {
	// Destination is another topic or queue of the source's broker, or another
	// destination of its log. Required.
	Destination string `yaml:"destination,required"`
	// Key is the order scope of what is sent, a source as those of columns.
	// Default: the message's key.
	Key string `yaml:"key"`
	// Kafka is the cluster of the destination. Default of this and the next two: the
	// source's own, or its log.
	Kafka *PublishKafka `yaml:"kafka"`
	// RabbitMQ is the broker of the destination: the name of a queue, or
	// exchange:NAME:KEY. Default: see kafka.
	RabbitMQ *PublishRabbitMQ `yaml:"rabbitmq"`
	// RocketMQ is the broker of the destination. Default: see kafka.
	RocketMQ *PublishRocketMQ `yaml:"rocketmq"`
}

// PublishKafka is a Kafka cluster that is sent to.
type PublishKafka struct {
	// Brokers are some of the cluster's, each host:port. Required.
	Brokers []string `yaml:"brokers,required"`
	// TLS encrypts the connections; {} takes the system's certificates. Default: none.
	TLS *TLS `yaml:"tls"`
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

// publishRows are the outbox rows of a message, with its id and stamp: who reads it at
// both ends, a group that moves from one broker to another say, sees one message. One
// without gets them in its row.
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
		row := rollcall.Message{Destination: to.destination, ID: m.ID, Key: key, Headers: headers, Body: m.Body, Time: m.Time}
		if !m.Stamp.IsZero() {
			row.Stamp, row.Partition = m.Stamp, rollcall.Unpicked
		}
		rows = append(rows, row)
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
	if len(p.brokers()) > 1 {
		c.problem(at, "keep one: a message goes to one place; write an entry of publish for each", "publish names several brokers: %s", strings.Join(p.brokers(), ", "))
	}
	if p.circular(&c.file.Source) {
		c.problem(at+".destination", "name another: destination: "+p.Destination+"-done", "publish: %q is the source itself: each message would go round for ever", p.Destination)
	}
	to := p.Broker(&c.file.Source)
	if to == "embedded" {
		c.inLog(at+".destination", p.Destination)
		return
	}
	for _, f := range p.faults(to) {
		field := at + "." + to + "." + f.field
		if f.field == "topic" {
			field = at + ".destination"
		}
		c.problem(field, f.next, "publish: %s", f.what)
	}
}

// brokers are those that the effect names itself.
func (p *Publish) brokers() (out []string) {
	if p.Kafka != nil {
		out = append(out, "kafka")
	}
	if p.RabbitMQ != nil {
		out = append(out, "rabbitmq")
	}
	if p.RocketMQ != nil {
		out = append(out, "rocketmq")
	}
	return out
}

// Broker is the kind of broker that is sent to: its own, or the source's.
func (p *Publish) Broker(s *Source) string {
	for _, names := range [][]string{p.brokers(), s.names()} {
		if len(names) > 0 {
			return names[0]
		}
	}
	return ""
}

// secret is what nobody may read, if there is one.
func (p *Publish) secret() string {
	switch {
	case p.Kafka != nil && p.Kafka.SASL != nil:
		return p.Kafka.SASL.Password
	case p.RabbitMQ != nil:
		return p.RabbitMQ.Password
	case p.RocketMQ != nil:
		return p.RocketMQ.SecretKey
	}
	return ""
}

// faults of the destination and of the way to it.
func (p *Publish) faults(to string) (out []fault) {
	switch to {
	case "kafka":
		topic := cmp.Or(p.Topic(), &Kafka{Topic: p.Destination, Brokers: []string{"source:1"}})
		return topic.faults()
	case "rabbitmq":
		if at := p.RabbitMQ; at != nil {
			out = rabbitmqFaults(at.Addresses, at.User, at.Password, at.External, at.TLS)
		}
		if f := rabbitmqDestination(p.Destination); f != nil {
			out = append(out, *f)
		}
	case "rocketmq":
		at := cmp.Or(p.RocketMQ, &PublishRocketMQ{Endpoints: []string{"source:1"}})
		return rocketmqFaults(at.Endpoints, p.Destination, at.AccessKey, at.SecretKey, at.Plaintext, at.TLS)
	}
	return out
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
	to := p.Broker(s)
	if !slices.Contains(s.names(), to) {
		return false
	}
	from, theirs, ours := "", []string(nil), []string(nil)
	switch {
	case s.Kafka != nil:
		from, theirs = s.Kafka.Topic, s.Kafka.Brokers
		if p.Kafka != nil {
			ours = p.Kafka.Brokers
		}
	case s.RabbitMQ != nil:
		from, theirs = s.RabbitMQ.Queue, s.RabbitMQ.Addresses
		if p.RabbitMQ != nil && p.RabbitMQ.VirtualHost == s.RabbitMQ.VirtualHost {
			ours = p.RabbitMQ.Addresses
		}
	case s.RocketMQ != nil:
		from, theirs = s.RocketMQ.Topic, s.RocketMQ.Endpoints
		if p.RocketMQ != nil && p.RocketMQ.Namespace == s.RocketMQ.Namespace {
			ours = p.RocketMQ.Endpoints
		}
	default:
		from = s.Embedded.Destination
	}
	here := len(p.brokers()) == 0 || slices.ContainsFunc(ours, func(a string) bool { return slices.Contains(theirs, a) })
	return here && from == p.Destination
}
