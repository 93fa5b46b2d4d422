package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/rollcall-mq/rollcall"
)

// turn is one run of a script about some keys.
type turn struct {
	script *goredis.Script
	names  []string // in Redis
	keys   int      // how many answers there must be
	args   []any
}

// ask takes one turn and returns the answer a key.
func (s *Store) ask(ctx context.Context, q turn) ([][]string, error) {
	return s.askOn(ctx, s.client, q)
}

// askAnew asks once more after a lost reply, on a connection that carried
// nothing before: those of the pool may be as dead as the first. If there is no
// answer again, it is as much in doubt as it was.
func (s *Store) askAnew(ctx context.Context, q turn, lost error) ([][]string, error) {
	client := s.connect(1)
	defer func() { _ = client.Close() }()
	answers, err := s.askOn(ctx, client, q)
	if err != nil {
		return nil, fmt.Errorf("%w; asked again: %v", lost, err)
	}
	return answers, nil
}

func (s *Store) askOn(ctx context.Context, client *goredis.Client, q turn) ([][]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, &setupError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	reply, err := q.script.Run(ctx, client, q.names, q.args...).Slice()
	if err != nil {
		return nil, doubt(err)
	}
	answers := make([][]string, len(reply))
	for i, r := range reply {
		parts, _ := r.([]any)
		for _, p := range parts {
			text, _ := p.(string)
			answers[i] = append(answers[i], text)
		}
	}
	if len(answers) != q.keys || slices.ContainsFunc(answers, func(a []string) bool { return len(a) < 2 }) {
		return nil, fmt.Errorf("%w: the answer %v cannot be read", rollcall.ErrInDoubt, reply)
	}
	return answers, nil
}

// advice for the errors that a server answers and that say that it did nothing.
var advice = []struct{ code, next string }{
	{"WRONGPASS", "Config.User or Config.Password is not the server's: set them"},
	{"NOAUTH", "the server wants a password: set Config.Password"},
	{"NOPERM", "the user may not do this: give it the rights in the package's comment"},
	{"OOM", "the server's memory is full (maxmemory): give it more, or shorter windows; work goes on by itself then"},
	{"READONLY", "the server is a replica now: connect to the master, or set Config.Sentinel to follow it"},
	{"LOADING", "the server is reading its file: try again when it has"},
	{"MASTERDOWN", "the server is a replica that lost its master: connect to the master"},
	{"WRONGTYPE", "something else than a claim lies at our key: use another Config.Prefix or Config.Database, or remove it"},
	{"MISCONF", "the server cannot write to its disk: look at its log"},
	{"NOREPLICAS", "min-replicas-to-write is not met: look at the replicas"},
	{"BUSY", "another script runs for long: find it (SCRIPT KILL)"},
	{"max number of clients", "the server takes no more connections: raise maxclients, or lower Config.Connections"},
}

// doubt marks an error after which it may have happened. What the server
// refused for a reason that we know, and what was never sent, has not.
func doubt(err error) error {
	var dial *net.OpError
	var setup *setupError
	switch {
	case errors.As(err, &setup), errors.As(err, &dial) && dial.Op == "dial",
		errors.Is(err, goredis.ErrPoolTimeout), errors.Is(err, goredis.ErrClosed), refusal(err) != "":
		return err
	}
	return fmt.Errorf("%w: %w", rollcall.ErrInDoubt, err)
}

// refusal is the advice for a server's answer, "" for what is none or not known.
func refusal(err error) string {
	var reply goredis.Error
	if errors.As(err, &reply) {
		for _, a := range advice {
			if strings.Contains(reply.Error(), a.code) {
				return a.next
			}
		}
	}
	return ""
}

// explain says first whether it can have happened, then what to do.
func (s *Store) explain(what, nothing string, err error) error {
	var dial *net.OpError
	var certificate *tls.CertificateVerificationError
	next := refusal(err)
	switch {
	case errors.Is(err, rollcall.ErrInDoubt):
		return fmt.Errorf("redis store %s: %s: no answer that can be trusted, it may have happened: %s: %w", s.name(), what, inDoubt[what], err)
	case errors.Is(err, goredis.ErrClosed):
		return fmt.Errorf("%w: redis store %s: %s: %s", rollcall.ErrClosed, s.name(), what, nothing)
	case errors.Is(err, goredis.ErrPoolTimeout):
		next = "all connections are in use: raise Config.Connections or Config.Timeout"
	case errors.As(err, &dial) && dial.Op == "dial":
		next = "the server cannot be reached: is it up, and is this its address?"
	case errors.As(err, &certificate):
		next = "Config.TLS does not know the server's certificate: set RootCAs and ServerName"
	}
	if next != "" {
		next += ": "
	}
	return fmt.Errorf("redis store %s: %s: %s: %s%w", s.name(), what, nothing, next, err)
}

// inDoubt is what to do then.
var inDoubt = map[string]string{
	"claim":    "claim again; if it had happened the key is in progress until the lease is over",
	"renew":    "renew again with the same token",
	"complete": "complete again with the same token, that is no error if it had happened",
	"release":  "release again; if it had happened that says fenced",
	"open":     "open again",
}
