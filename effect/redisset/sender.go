package redisset

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"

	"github.com/rollcall-mq/rollcall"
)

// Prefix begins the destinations of a Sender: "redis:NAME".
const Prefix = "redis:"

// NumberHeader carries the number of a Message, in decimal digits.
const NumberHeader = "redis-number"

// Message is the outbox row that sets key of the target to value. number rises
// with every change of the key, from 1. The key is the order scope as well.
func Message(target, key string, number uint64, value []byte) rollcall.Message {
	return rollcall.Message{Destination: Prefix + target, Key: key, Body: value,
		Headers: []rollcall.Header{{Name: NumberHeader, Value: strconv.AppendUint(nil, number, 10)}}}
}

// Config is the settings of a Sender. The zero value is safe.
type Config struct {
	// Else gets the messages of all other destinations, so that one relay can
	// empty an outbox of several kinds. Default: none, they wait.
	Else rollcall.Sender
}

// Sender sets keys. It is a rollcall.Sender for a Relay, safe for concurrent use.
type Sender struct {
	targets    map[string]*target
	config     Config
	set, stale atomic.Uint64
}

// New makes a sender of the servers, by name. Nothing is connected.
func New(targets map[string]Target, config Config) (*Sender, error) {
	s := &Sender{targets: make(map[string]*target), config: config}
	for name, t := range targets {
		ready, err := newTarget(name, t)
		if err != nil {
			return nil, errors.Join(err, s.Close(context.Background()))
		}
		s.targets[Prefix+name] = ready
	}
	return s, nil
}

// Counts says how many messages set their key, and how many were stale, since
// New. After a lost answer a message may count in neither, and as stale later.
func (s *Sender) Counts() (set, stale uint64) { return s.set.Load(), s.stale.Load() }

// Capabilities are those of Else, or just a name.
func (s *Sender) Capabilities() rollcall.Capabilities {
	if s.config.Else != nil {
		return s.config.Else.Capabilities()
	}
	return rollcall.Capabilities{Broker: "redis"}
}

// oneLane: the number of a key is the application's, not the stamp's.
type oneLane struct{}

func (oneLane) Pick(*rollcall.Message) int32 { return 0 }

func (oneLane) Name(int32) string { return "redis" }

// Lanes implements rollcall.Sender.
func (s *Sender) Lanes(ctx context.Context, destination string) (rollcall.Lanes, error) {
	if s.elsewhere(destination) {
		return s.config.Else.Lanes(ctx, destination)
	}
	return oneLane{}, nil
}

func (s *Sender) elsewhere(destination string) bool {
	return s.config.Else != nil && !strings.HasPrefix(destination, Prefix)
}

// Unrepeatable is what Else says of its destinations; a repeat of ours is stale.
func (s *Sender) Unrepeatable(destination string) bool {
	if u, ok := s.config.Else.(rollcall.Unrepeatable); ok && s.elsewhere(destination) {
		return u.Unrepeatable(destination)
	}
	return false
}

// Publish sets the keys of all messages in one script, in their order. One that
// is refused does not keep the others from being set.
func (s *Sender) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	if s.elsewhere(destination) {
		return s.config.Else.Publish(ctx, destination, messages)
	}
	results := make([]rollcall.PublishResult, len(messages))
	t := s.targets[destination]
	if t == nil {
		return all(results, fmt.Errorf("%w: no server %q is configured here: add it; the messages behind it wait too", rollcall.ErrTryAgain, destination))
	}
	args := []any{t.TTL.Milliseconds(), t.Remember.Milliseconds()}
	var keys []string
	var sent []int
	for i := range messages {
		number, err := number(&messages[i])
		if err != nil {
			results[i] = rollcall.PublishResult{Fate: rollcall.Refused, Err: err}
			continue
		}
		sent = append(sent, i)
		keys = append(keys, t.Keys+messages[i].Key, t.Numbers+t.Keys+messages[i].Key)
		args = append(args, number, append([]byte{}, messages[i].Body...))
	}
	if len(sent) == 0 {
		return results
	}
	answers, err := t.run(ctx, keys, args)
	if err != nil {
		for _, i := range sent {
			results[i].Err = err
		}
		return results
	}
	for n, i := range sent {
		results[i] = s.answered(t, &messages[i], answers[n])
	}
	return results
}

func all(results []rollcall.PublishResult, err error) []rollcall.PublishResult {
	for i := range results {
		results[i].Err = err
	}
	return results
}

// number is read anew so that what the script compares has no leading zeros.
func number(m *rollcall.Message) (string, error) {
	text, _ := m.Header(NumberHeader)
	n, err := strconv.ParseUint(string(text), 10, 64)
	switch {
	case m.Key == "":
		return "", errors.New("redisset: Key is empty: it names what is set")
	case err != nil || n == 0:
		return "", fmt.Errorf("redisset: header %s of key %q is %q, no number from 1: make the message with redisset.Message", NumberHeader, m.Key, text)
	}
	return strconv.FormatUint(n, 10), nil
}

// answered maps the script's answer to a fate. What it does not know is no
// success.
func (s *Sender) answered(t *target, m *rollcall.Message, answer string) rollcall.PublishResult {
	word, rest, _ := strings.Cut(answer, " ")
	refused := func(why string) rollcall.PublishResult {
		return rollcall.PublishResult{Fate: rollcall.Refused, Err: fmt.Errorf("redis %s: key %q was not set: %s", t.name, t.Keys+m.Key, why)}
	}
	switch word {
	case "set":
		s.set.Add(1)
		return rollcall.PublishResult{Fate: rollcall.Stored}
	case "stale":
		s.stale.Add(1)
		return rollcall.PublishResult{Fate: rollcall.Stored}
	case "other":
		return refused("number " + rest + " was set before with another value: two changes bear one number, count it up in the transaction of the change")
	case "type":
		return refused("WRONGTYPE: it holds a " + rest + ", which is not ours: remove it, or use another key")
	case "guard":
		return refused("WRONGTYPE: what lies at " + t.Numbers + t.Keys + m.Key + " is no number of ours: remove it, or set Target.Numbers")
	}
	return rollcall.PublishResult{Err: fmt.Errorf("redis %s: the answer %q cannot be read, it may have been set", t.name, answer)}
}

// Close ends the connections. Else stays open.
func (s *Sender) Close(context.Context) error {
	var errs []error
	for _, t := range s.targets {
		errs = append(errs, t.client.Close())
	}
	return errors.Join(errs...)
}

// advice for the errors that a server answers and that say that it did nothing.
var advice = []struct{ code, next string }{
	{"WRONGPASS", "Target.User or Password is not the server's"},
	{"NOAUTH", "the server wants a password: set Target.Password"},
	{"unauthenticated", "the server wants a password: set Target.Password"}, // its answer to a long batch
	{"NOPERM", "the user may not do this: give it the rights in the package's comment"},
	{"OOM", "the server's memory is full (maxmemory): give it more, or shorter lives (Target.TTL)"},
	{"READONLY", "the server is a replica: name the master"},
	{"LOADING", "the server is reading its file"},
	{"MASTERDOWN", "the server is a replica that lost its master: name the master"},
	{"MISCONF", "the server cannot write to its disk: look at its log"},
	{"NOREPLICAS", "min-replicas-to-write is not met: look at the replicas"},
	{"BUSY", "another script runs for long: find it (SCRIPT KILL)"},
	{"CROSSSLOT", "Redis Cluster is not supported: name one server"},
	{"max number of clients", "the server takes no more connections: raise maxclients"},
}

// explain says first whether it can have happened.
func (t *target) explain(err error) error {
	var dial *net.OpError
	var reply goredis.Error
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Errorf("%w: redis %s: nothing was set: no connection: is it up, and is this its address? %w", rollcall.ErrTryAgain, t.name, err)
	case errors.Is(err, goredis.ErrPoolTimeout), errors.Is(err, goredis.ErrClosed):
		return fmt.Errorf("%w: redis %s: nothing was set: %w", rollcall.ErrTryAgain, t.name, err)
	case errors.As(err, &reply):
		for _, a := range advice {
			if strings.Contains(reply.Error(), a.code) {
				return fmt.Errorf("%w: redis %s: nothing was set: %s: %w", rollcall.ErrTryAgain, t.name, a.next, err)
			}
		}
	}
	return fmt.Errorf("redis %s: no answer that can be trusted, it may have been set: %w", t.name, err)
}
