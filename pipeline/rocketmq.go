package pipeline

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// RocketMQ is a topic of RocketMQ 5, by the gRPC protocol of its proxy. It has no
// positions and fences nobody: what was done is told by stamps and keys, in the store,
// under its locks.
type RocketMQ struct {
	// Endpoints are proxies, each host:port. Required.
	Endpoints []string `yaml:"endpoints,required"`
	// Topic must exist, and the consumer group, which has the pipeline's name, too
	// unless the server makes groups by itself. Required.
	Topic string `yaml:"topic,required"`
	// FIFO: the topic is of type FIFO and the group orderly. Default: false.
	FIFO bool `yaml:"fifo"`
	// Filter is tags that the group wants: "a || b". What it leaves out is missing in no
	// list, and cannot be audited. Default: *, all.
	Filter string `yaml:"filter"`
	// Invisible is how long a message stays away from others without a word of us,
	// which comes in time while we work: 10s to 12h. Default: 60s.
	Invisible time.Duration `yaml:"invisible"`
	// Namespace of topic and group. Default: none.
	Namespace string `yaml:"namespace"`
	// AccessKey is who we are. Default: nobody.
	AccessKey string `yaml:"access_key"`
	// SecretKey signs what we ask: "${VAR}" or "${file:PATH}". It is never printed.
	// Default: none.
	SecretKey string `yaml:"secret_key"`
	// TLS is how the connections are encrypted. Default: with the system's certificates.
	TLS *TLS `yaml:"tls"`
	// Plaintext leaves the connections unencrypted: anybody between can read and change
	// what is sent. Default: false.
	Plaintext bool `yaml:"plaintext"`
}

// PublishRocketMQ is a RocketMQ that is sent to.
type PublishRocketMQ struct {
	// Endpoints are proxies, each host:port. Required.
	Endpoints []string `yaml:"endpoints,required"`
	// Namespace of the topic. Default: none.
	Namespace string `yaml:"namespace"`
	// AccessKey is who we are. Default: nobody.
	AccessKey string `yaml:"access_key"`
	// SecretKey signs what we ask. Default: none.
	SecretKey string `yaml:"secret_key"`
	// TLS is how the connections are encrypted. Default: with the system's certificates.
	TLS *TLS `yaml:"tls"`
	// Plaintext leaves the connections unencrypted. Default: false.
	Plaintext bool `yaml:"plaintext"`
}

// What RocketMQ takes as names of topics and groups.
var (
	rocketTopic = regexp.MustCompile(`^[%a-zA-Z0-9_-]{1,127}$`)
	rocketGroup = regexp.MustCompile(`^[%a-zA-Z0-9_-]{1,64}$`)
)

const nextEndpoints = "name some proxies: endpoints: [127.0.0.1:8081]"

// faults are what is wrong with the section, whatever the server says.
func (r *RocketMQ) faults() []fault {
	out := rocketmqFaults(r.Endpoints, r.Topic, r.AccessKey, r.SecretKey, r.Plaintext, r.TLS)
	if r.Invisible > 0 && (r.Invisible < 10*time.Second || r.Invisible > 12*time.Hour) {
		out = append(out, fault{"invisible", "write 10s to 12h; 60s is usual", fmt.Sprintf("rocketmq: invisible: the server does not take %v", r.Invisible)})
	}
	if strings.ContainsAny(r.Filter, "\n\r") || r.Filter != strings.TrimSpace(r.Filter) {
		out = append(out, fault{"filter", `write tags: "a || b"`, fmt.Sprintf("rocketmq: filter: %q is no list of tags", r.Filter)})
	}
	return out
}

// rocketmqFaults of a connection and a topic.
func rocketmqFaults(endpoints []string, topic, access, secret string, plaintext bool, t *TLS) (out []fault) {
	if len(endpoints) == 0 {
		out = append(out, fault{"endpoints", nextEndpoints, "rocketmq: endpoints names none"})
	}
	for i, e := range endpoints {
		if !isAddress(e) {
			out = append(out, fault{fmt.Sprintf("endpoints[%d]", i), "write host:port, as in 127.0.0.1:8081", fmt.Sprintf("rocketmq: endpoints: %q is not host:port", e)})
		}
	}
	if !rocketTopic.MatchString(topic) {
		out = append(out, fault{"topic", "use letters, digits, '_', '-' and '%', at most 127", fmt.Sprintf("rocketmq: topic: %q is no name that RocketMQ takes", topic)})
	}
	switch {
	case (access == "") != (secret == ""):
		out = append(out, fault{"access_key", `add access_key: NAME and secret_key: "${ROCKETMQ_SECRET}", both`, "rocketmq: access_key and secret_key stand together"})
	case plaintext && t != nil:
		out = append(out, fault{"plaintext", "take it out, or tls", "rocketmq: tls is given, and plaintext asks for none"})
	}
	return append(out, t.faults("rocketmq")...)
}

// rocketmq finds what is wrong with the source.
func (c *checker) rocketmq() {
	r := c.file.Source.RocketMQ
	if r == nil {
		return
	}
	for _, f := range r.faults() {
		c.problem("source.rocketmq."+f.field, f.next, "%s", f.what)
	}
	if !rocketGroup.MatchString(c.file.Name) {
		c.problem("name", "use letters, digits, '_', '-' and '%', at most 64", "name: %q is no consumer group that RocketMQ takes", c.file.Name)
	}
}
