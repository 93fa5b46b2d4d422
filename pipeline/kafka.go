package pipeline

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Kafka is a topic of a Kafka cluster. The group's place in it is kept in the store,
// with the effects; what is committed to Kafka is for tools only.
type Kafka struct {
	// Brokers are some of the cluster's, each host:port. Required.
	Brokers []string `yaml:"brokers,required"`
	// Topic must exist: how many partitions and replicas it has is a decision. Required.
	Topic string `yaml:"topic,required"`
	// TLS encrypts the connections; {} takes the system's certificates. Default: none.
	TLS *TLS `yaml:"tls"`
	// SASL is who we are. Default: nobody.
	SASL *KafkaSASL `yaml:"sasl"`
	// SessionTimeout is how long a process may be silent before others get its
	// partitions. Default: 45s.
	SessionTimeout time.Duration `yaml:"session_timeout"`
	// RebalanceTimeout is how long processes have to let partitions go; more than the
	// 30s that work in hand may take. Default: 60s.
	RebalanceTimeout time.Duration `yaml:"rebalance_timeout"`
	// Protocol is how processes share out partitions, the same in all of them:
	// cooperative, eager, or server (Kafka 4.3 and newer). Default: cooperative.
	Protocol string `yaml:"protocol"`
	// Instance is the name of a static member, which keeps its partitions over a
	// restart within session_timeout; each process has one of its own:
	// "${HOSTNAME}". Default: none.
	Instance string `yaml:"instance"`
	// CommitEvery is how often Kafka is told how far the group is, for tools that show
	// its lag. Nothing starts from there. Default: 1s.
	CommitEvery time.Duration `yaml:"commit_every"`
	// AcceptLost goes on behind messages that were removed before they were worked
	// off, and counts them as missing. Default: false, run stops and names them.
	AcceptLost bool `yaml:"accept_lost"`
}

// KafkaSASL is who we are to the broker.
type KafkaSASL struct {
	// Mechanism is SCRAM-SHA-512, SCRAM-SHA-256, OAUTHBEARER, or PLAIN, which needs
	// tls. Required.
	Mechanism string `yaml:"mechanism,required"`
	// User of all but OAUTHBEARER. Default: none.
	User string `yaml:"user"`
	// Password of the user: "${VAR}" or "${file:PATH}". It is never printed. Default:
	// none.
	Password string `yaml:"password"`
	// TokenFile holds the token of OAUTHBEARER. It is read anew for each connection, so
	// that whoever renews it needs only to write the file. Default: none.
	TokenFile string `yaml:"token_file"`
}

// Words of source.kafka.
var (
	protocols  = []string{"cooperative", "eager", "server"}
	mechanisms = []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"}
)

// legalTopic is what Kafka takes as the name of a topic, but for "." and "..".
var legalTopic = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// leastRebalance is longer than work in hand may take (ConsumerConfig.Drain).
const leastRebalance = 31 * time.Second

const nextBrokers = "name some brokers of the cluster: brokers: [127.0.0.1:9092]"

// fault is one mistake in a group of fields.
type fault struct{ field, next, what string }

// faults are what is wrong with the section, whatever the cluster says.
func (k *Kafka) faults() (out []fault) {
	add := func(field, next, format string, args ...any) {
		out = append(out, fault{field, next, fmt.Sprintf(format, args...)})
	}
	if len(k.Brokers) == 0 {
		add("brokers", nextBrokers, "kafka: brokers names none")
	}
	for i, b := range k.Brokers {
		if !isAddress(b) {
			add(fmt.Sprintf("brokers[%d]", i), "write host:port, as in 127.0.0.1:9092", "kafka: brokers: %q is not host:port", b)
		}
	}
	if !legalTopic.MatchString(k.Topic) || k.Topic == "." || k.Topic == ".." {
		add("topic", "use letters, digits, '.', '_' and '-', at most 249", "kafka: topic: %q is no name that Kafka takes", k.Topic)
	}
	if k.Protocol != "" && !slices.Contains(protocols, k.Protocol) {
		add("protocol", didYouMean(k.Protocol, protocols), "kafka: protocol: %q is not known", k.Protocol)
	}
	if k.RebalanceTimeout > 0 && k.RebalanceTimeout < leastRebalance {
		add("rebalance_timeout", "make it 31s or more: work in hand may take 30s", "kafka: rebalance_timeout: %v is too short", k.RebalanceTimeout)
	}
	if k.SessionTimeout > 0 && k.SessionTimeout < time.Second {
		add("session_timeout", "write 6s or more; 45s is usual", "kafka: session_timeout: %v is too short", k.SessionTimeout)
	}
	return append(append(out, k.TLS.faults("kafka")...), k.SASL.faults(k.TLS != nil)...)
}

func (s *KafkaSASL) faults(encrypted bool) []fault {
	if s == nil {
		return nil
	}
	token := s.Mechanism == "OAUTHBEARER"
	switch {
	case !slices.Contains(mechanisms, s.Mechanism):
		return []fault{{"sasl.mechanism", "use one of: SCRAM-SHA-512, SCRAM-SHA-256, OAUTHBEARER, or PLAIN over tls", fmt.Sprintf("kafka: sasl: mechanism %q is not known", s.Mechanism)}}
	case s.Mechanism == "PLAIN" && !encrypted:
		return []fault{{"sasl.mechanism", "add tls: {}, or use SCRAM-SHA-512", "kafka: sasl: PLAIN sends the password as it is, and the connection is not encrypted"}}
	case token && s.TokenFile == "":
		return []fault{{"sasl.mechanism", "add token_file: the file that holds the token", "kafka: sasl: OAUTHBEARER needs a token"}}
	case token && s.User+s.Password != "":
		return []fault{{"sasl." + cmp.Or(named(s.User, "user"), "password"), "take user and password out", "kafka: sasl: OAUTHBEARER has a token, no user and password"}}
	case !token && s.TokenFile != "":
		return []fault{{"sasl.token_file", "take it out, or use mechanism: OAUTHBEARER", "kafka: sasl: " + s.Mechanism + " takes no token"}}
	case !token && (s.User == "" || s.Password == ""):
		return []fault{{"sasl.mechanism", `add user: NAME and password: "${KAFKA_PASSWORD}"`, "kafka: sasl: " + s.Mechanism + " needs user and password"}}
	}
	return nil
}

// named is a name if there is a value.
func named(value, name string) string {
	if value == "" {
		return ""
	}
	return name
}

// kafka finds what is wrong with the source.
func (c *checker) kafka() {
	k := c.file.Source.Kafka
	if k == nil {
		return
	}
	for _, f := range k.faults() {
		c.problem("source.kafka."+f.field, f.next, "%s", f.what)
	}
}

// Check says what is wrong with a Kafka that stands in no file, as ErrConfig.
func (k *Kafka) Check() error {
	for _, f := range k.faults() {
		return fmt.Errorf("%w: %s; %s", rollcall.ErrConfig, f.what, f.next)
	}
	return nil
}

// Beside gives a section of the file the paths of its files as they are to be opened.
func (f *File) Beside(k Kafka) Kafka {
	k.TLS = f.BesideTLS(k.TLS)
	if k.SASL != nil && k.SASL.TokenFile != "" {
		s := *k.SASL
		s.TokenFile = f.beside(s.TokenFile)
		k.SASL = &s
	}
	return k
}
