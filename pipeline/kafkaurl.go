package pipeline

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/rollcall-mq/rollcall"
)

// KafkaScheme begins the address of a topic where no pipeline file says it.
const KafkaScheme = "kafka://"

// KafkaPassword is the variable that holds the password of such an address: one on a
// command line is seen by everybody on the host.
const KafkaPassword = "ROLLCALL_KAFKA_PASSWORD"

const nextKafkaURL = "write kafka://HOST:PORT[,HOST:PORT]/TOPIC[?tls=true&ca=FILE&cert=FILE&key=FILE&server_name=NAME&skip_verify=true" +
	"&sasl=MECHANISM&user=NAME&token_file=FILE]"

// ParseKafka reads the address of a topic, and returns what hides its password. The
// error is rollcall.ErrConfig and repeats nothing that may be secret.
func ParseKafka(text string, env Env) (*Kafka, *Redactor, error) {
	r := &Redactor{values: make(map[string]string)}
	bad := func(format string, args ...any) (*Kafka, *Redactor, error) {
		return nil, r, fmt.Errorf("%w: %s; %s", rollcall.ErrConfig, fmt.Sprintf(format, args...), nextKafkaURL)
	}
	place, query, _ := strings.Cut(strings.TrimPrefix(text, KafkaScheme), "?")
	brokers, topic, found := strings.Cut(place, "/")
	options, err := url.ParseQuery(query)
	switch {
	case strings.Contains(place, "@") || options.Has("password"):
		return nil, r, fmt.Errorf("%w: the address of a topic takes no password, which others would see; give user=NAME in it, and the password in %s", rollcall.ErrConfig, KafkaPassword)
	case !found || topic == "":
		return bad("the address names no topic")
	case err != nil:
		return bad("what follows the topic cannot be read")
	}
	k := &Kafka{Brokers: strings.Split(brokers, ","), Topic: topic}
	for name, values := range options {
		if err := k.option(name, values[len(values)-1]); err != "" {
			return bad("%s", err)
		}
	}
	if k.SASL != nil && k.SASL.TokenFile == "" {
		k.SASL.Password, _ = env.withDefaults(".").Lookup(KafkaPassword)
		if r.hideWord(k.SASL.Password); k.SASL.Password == "" {
			return nil, r, fmt.Errorf("%w: there is no password for sasl; set %s", rollcall.ErrConfig, KafkaPassword)
		}
	}
	return k, r, k.Check()
}

// option sets what one name of the address says; the text is what is wrong with it.
func (k *Kafka) option(name, value string) string {
	words := map[string]bool{"true": true, "false": false}
	is, known := words[value]
	switch name {
	case "tls", "skip_verify":
		if !known {
			return name + " is neither true nor false"
		}
		if name == "skip_verify" {
			k.encrypted().SkipVerify = is
		} else if is {
			k.encrypted()
		}
	case "ca":
		k.encrypted().CA = value
	case "cert":
		k.encrypted().Cert = value
	case "key":
		k.encrypted().Key = value
	case "server_name":
		k.encrypted().ServerName = value
	case "sasl":
		k.identity().Mechanism = value
	case "user":
		k.identity().User = value
	case "token_file":
		k.identity().TokenFile = value
	default:
		names := []string{"tls", "ca", "cert", "key", "server_name", "skip_verify", "sasl", "user", "token_file"}
		slices.Sort(names)
		return fmt.Sprintf("%q is not known: %s", name, didYouMean(name, names))
	}
	return ""
}

func (k *Kafka) encrypted() *TLS {
	if k.TLS == nil {
		k.TLS = &TLS{}
	}
	return k.TLS
}

func (k *Kafka) identity() *KafkaSASL {
	if k.SASL == nil {
		k.SASL = &KafkaSASL{}
	}
	return k.SASL
}
