package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// RabbitMQ is a queue or a stream of RabbitMQ. A queue has no positions and fences
// nobody: what was done is told by stamps and keys, in the store, under its locks.
type RabbitMQ struct {
	// Addresses are nodes of the cluster, each host:port, tried in turn. Required.
	Addresses []string `yaml:"addresses,required"`
	// Queue is its name. It must exist, unless declare makes it. Required.
	Queue string `yaml:"queue,required"`
	// Type of the queue: quorum, classic or stream. Default: quorum.
	Type string `yaml:"type"`
	// SingleActive: one process at a time is given messages, in their order; the queue
	// was made so, or declare makes it so. Default: false, all processes share them.
	SingleActive bool `yaml:"single_active"`
	// VirtualHost is where the queue lies. Default: /.
	VirtualHost string `yaml:"virtual_host"`
	// User is who we are; RabbitMQ takes guest from its own host only. Default: guest.
	User string `yaml:"user"`
	// Password of the user: "${VAR}" or "${file:PATH}". It is never printed. Default:
	// guest.
	Password string `yaml:"password"`
	// External: the certificate of tls says who we are. Default: false.
	External bool `yaml:"external"`
	// TLS encrypts the connections; {} takes the system's certificates. Default: none.
	TLS *TLS `yaml:"tls"`
	// Prefetch is the most messages that a process holds unsettled; few of them share
	// the work out better, many are quicker. Default: 1000.
	Prefetch int `yaml:"prefetch"`
	// Lease of a stream is how long its owner may be silent before another process
	// takes over. Default: 15s.
	Lease time.Duration `yaml:"lease"`
	// AcceptLost goes on behind messages that a stream removed before they were worked
	// off, and counts them as missing. Default: false, run stops and names them.
	AcceptLost bool `yaml:"accept_lost"`
	// Declare makes the queue if it is missing, and compares one that is there: what
	// differs is refused. Default: none, the queue is taken as it is.
	Declare *RabbitMQQueue `yaml:"declare"`
}

// RabbitMQQueue is what a queue is made with.
type RabbitMQQueue struct {
	// DeliveryLimit is how often the broker brings a message before it gives up, also
	// when it was only prefetched; attempts are counted in the store without it.
	// Default: 0, no limit.
	DeliveryLimit int `yaml:"delivery_limit"`
	// DeadLetter is the queue, or exchange:NAME, that gets what the broker gives up, at
	// least once. It must exist. Default: none.
	DeadLetter string `yaml:"dead_letter"`
	// MaxAge of a stream is how long it keeps messages; dedup.window must cover it.
	// Default: 0, for ever.
	MaxAge time.Duration `yaml:"max_age"`
	// Bindings are the exchanges that the queue gets messages of. Default: none, it is
	// sent to by its name.
	Bindings []RabbitMQBinding `yaml:"bindings"`
}

// RabbitMQBinding is one way from an exchange to the queue.
type RabbitMQBinding struct {
	// Exchange must exist. Required.
	Exchange string `yaml:"exchange,required"`
	// Key is the routing key, or its pattern. Default: empty.
	Key string `yaml:"key"`
}

// PublishRabbitMQ is a RabbitMQ that is sent to.
type PublishRabbitMQ struct {
	// Addresses are nodes of the cluster, each host:port. Required.
	Addresses []string `yaml:"addresses,required"`
	// VirtualHost is where the destination lies. Default: /.
	VirtualHost string `yaml:"virtual_host"`
	// User is who we are. Default: guest.
	User string `yaml:"user"`
	// Password of the user. Default: guest.
	Password string `yaml:"password"`
	// External: the certificate of tls says who we are. Default: false.
	External bool `yaml:"external"`
	// TLS encrypts the connections; {} takes the system's certificates. Default: none.
	TLS *TLS `yaml:"tls"`
}

// queueTypes are the words of source.rabbitmq.type.
var queueTypes = []string{"quorum", "classic", "stream"}

const (
	nextAddresses = "name some nodes of the cluster: addresses: [127.0.0.1:5672]"
	mostName      = 255 // bytes of a short string of AMQP
)

// IsStream says that the queue can be replayed.
func (r *RabbitMQ) IsStream() bool { return r.Type == "stream" }

// faults are what is wrong with the section, whatever the broker says.
func (r *RabbitMQ) faults() []fault {
	out := rabbitmqFaults(r.Addresses, r.User, r.Password, r.External, r.TLS)
	add := func(field, next, format string, args ...any) {
		out = append(out, fault{field, next, "rabbitmq: " + fmt.Sprintf(format, args...)})
	}
	if r.Queue == "" || len(r.Queue) > mostName || strings.HasPrefix(r.Queue, "amq.") {
		add("queue", "use 1 to 255 bytes, not beginning with amq.", "queue: %q is no name of a queue that could be kept", r.Queue)
	}
	if strings.HasPrefix(r.Queue, exchangePrefix) {
		add("queue", "name the queue that is bound to it; declare: {bindings: [{exchange: NAME, key: KEY}]} binds one", "queue: %q is an exchange, which holds no messages", r.Queue)
	}
	if r.Type != "" && !slices.Contains(queueTypes, r.Type) {
		add("type", didYouMean(r.Type, queueTypes), "type: %q is not known", r.Type)
	}
	if r.Prefetch > 65535 {
		add("prefetch", "write at most 65535", "prefetch: %d is more than AMQP can say", r.Prefetch)
	}
	if r.IsStream() && r.SingleActive {
		add("single_active", "take it out: a stream has one owner anyway", "single_active is for queues, and this is a stream")
	}
	if !r.IsStream() && r.AcceptLost {
		add("accept_lost", "take it out: a queue removes what was acknowledged, and nothing else", "accept_lost is for streams")
	}
	if r.Lease > 0 && (!r.IsStream() || r.Lease < time.Second) {
		add("lease", "it is for type: stream, 1s or more; 15s is usual", "lease: %v cannot be", r.Lease)
	}
	return append(out, r.Declare.faults(r.IsStream())...)
}

// rabbitmqDestination says what is wrong with the name of a queue, or exchange:NAME:KEY.
func rabbitmqDestination(name string) *fault {
	exchange, isExchange := strings.CutPrefix(name, exchangePrefix)
	parts := strings.Split(exchange, ":")
	switch {
	case isExchange && (len(parts) < 2 || parts[0] == ""):
		return &fault{"topic", "write exchange:NAME:KEY, the key may be empty", fmt.Sprintf("rabbitmq: destination: %q names an exchange, and no routing key", name)}
	case name == "" || len(name) > mostName:
		return &fault{"topic", "use 1 to 255 bytes", fmt.Sprintf("rabbitmq: destination: %q is no name", name)}
	}
	return nil
}

// IsExchange says that a destination of RabbitMQ is an exchange with a routing key.
func IsExchange(destination string) bool { return strings.HasPrefix(destination, exchangePrefix) }

// exchangePrefix begins the name of a destination that is an exchange.
const exchangePrefix = "exchange:"

func (q *RabbitMQQueue) faults(stream bool) (out []fault) {
	switch {
	case q == nil:
	case stream && (q.DeliveryLimit > 0 || q.DeadLetter != ""):
		out = append(out, fault{"declare", "take delivery_limit and dead_letter out: a stream keeps its messages", "rabbitmq: declare: a stream has no dead letters"})
	case !stream && q.MaxAge > 0:
		out = append(out, fault{"declare.max_age", "use type: stream, or take it out", "rabbitmq: declare: max_age is for streams"})
	case q.DeliveryLimit > 0 && q.DeadLetter == "":
		out = append(out, fault{"declare.delivery_limit", "add dead_letter: the queue that gets them; or take it out: attempts are counted in the store",
			"rabbitmq: declare: what reaches delivery_limit would be thrown away"})
	}
	return out
}

// rabbitmqFaults of a connection.
func rabbitmqFaults(addresses []string, user, password string, external bool, t *TLS) (out []fault) {
	if len(addresses) == 0 {
		out = append(out, fault{"addresses", nextAddresses, "rabbitmq: addresses names none"})
	}
	for i, a := range addresses {
		if !isAddress(a) {
			out = append(out, fault{fmt.Sprintf("addresses[%d]", i), "write host:port, as in 127.0.0.1:5672; user and password have fields of their own",
				fmt.Sprintf("rabbitmq: addresses: %q is not host:port", a)})
		}
	}
	switch {
	case external && (t == nil || t.Cert == ""):
		out = append(out, fault{"external", "add tls: {cert: me.pem, key: me.key}", "rabbitmq: external takes who we are from our certificate, and there is none"})
	case external && user+password != "":
		out = append(out, fault{"external", "take user and password out, or external", "rabbitmq: external has no user and password"})
	case (user == "") != (password == ""):
		out = append(out, fault{"user", `add user: NAME and password: "${RABBITMQ_PASSWORD}", both`, "rabbitmq: user and password stand together"})
	}
	return append(out, t.faults("rabbitmq")...)
}

// rabbitmq finds what is wrong with the source.
func (c *checker) rabbitmq() {
	r := c.file.Source.RabbitMQ
	if r == nil {
		return
	}
	for _, f := range r.faults() {
		c.problem("source.rabbitmq."+f.field, f.next, "%s", f.what)
	}
}
