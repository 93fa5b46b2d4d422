package redisset

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/rollcall-mq/rollcall"
)

// Target is a Redis and how its keys are named.
type Target struct {
	// Addr is the server's host:port. Required.
	Addr string
	// Database number. Default 0.
	Database int
	// Keys is put before every key. Default: nothing.
	Keys string
	// Numbers is put before a key, Keys included, to name where its number lies.
	// Default "rollcall:number:".
	Numbers string
	// Password of the user. Default: none.
	Password string
	// Remember is how long a number is kept after its key was set last, at least 1
	// ms. It must be longer than a row can wait in the outbox, or a late row sets an
	// older value. Default: for ever.
	Remember time.Duration
	// TLS of the connection. Default: none, plain TCP.
	TLS *tls.Config
	// TTL is how long a value lives after it was set, at least 1 ms. Default: for
	// ever.
	TTL time.Duration
	// Timeout of one script. Default 5 seconds.
	Timeout time.Duration
	// User of Redis's access lists. Default: Redis's own, "default".
	User string
}

// target is a Target ready to use.
type target struct {
	Target
	name   string
	client *goredis.Client
}

func newTarget(name string, t Target) (*target, error) {
	wrong := func(field string, value any, why string) error {
		return fmt.Errorf("%w: redisset: server %q: %s: %v: %s", rollcall.ErrConfig, name, field, value, why)
	}
	switch {
	case name == "":
		return nil, wrong("name", `""`, "it is empty")
	case t.Addr == "":
		return nil, wrong("Addr", `""`, "say host:port")
	case t.TTL != 0 && t.TTL < time.Millisecond:
		return nil, wrong("TTL", t.TTL, "at least 1ms, or 0 for ever")
	case t.Remember != 0 && t.Remember < time.Millisecond:
		return nil, wrong("Remember", t.Remember, "at least 1ms, or 0 for ever")
	case t.Timeout < 0:
		return nil, wrong("Timeout", t.Timeout, "it is negative")
	}
	if t.Numbers == "" {
		t.Numbers = "rollcall:number:"
	}
	if t.Timeout == 0 {
		t.Timeout = 5 * time.Second
	}
	client := goredis.NewClient(&goredis.Options{
		Addr: t.Addr, Username: t.User, Password: t.Password, DB: t.Database, TLSConfig: t.TLS,
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, DialTimeout: t.Timeout,
		ReadTimeout: t.Timeout, WriteTimeout: t.Timeout, ContextTimeoutEnabled: true, PoolSize: 2,
	})
	return &target{t, name, client}, nil
}

// script compares and sets. KEYS: of each message the key and where its number
// lies. ARGV: life of values and of numbers in milliseconds, then number and
// value of each message. Numbers are compared as text: a Lua number has 53 bits.
// A full memory refuses the first write, so then none happens.
var script = goredis.NewScript(`
local function set(key, value, life)
  if life == '0' then redis.call('SET', key, value) else redis.call('SET', key, value, 'PX', life) end
end
local answers = {}
for i = 1, #KEYS / 2 do
  local key, guard, number, value = KEYS[2 * i - 1], KEYS[2 * i], ARGV[2 * i + 1], ARGV[2 * i + 2]
  local sum, kind = redis.sha1hex(value), redis.call('TYPE', key).ok
  local had = redis.pcall('GET', guard)
  local last, of
  if type(had) == 'string' then last, of = string.match(had, '^(%d+) (%x+)$') end
  if kind ~= 'none' and kind ~= 'string' then
    answers[i] = 'type ' .. kind
  elseif had and not last then
    answers[i] = 'guard'
  elseif not last or #last < #number or #last == #number and last < number then
    set(key, value, ARGV[1])
    set(guard, number .. ' ' .. sum, ARGV[2])
    answers[i] = 'set'
  elseif last == number and of ~= sum then
    answers[i] = 'other ' .. number
  else
    answers[i] = 'stale'
  end
end
return answers
`)

// run runs the script, and returns an answer a message.
func (t *target) run(ctx context.Context, keys []string, args []any) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	answers, err := script.Run(ctx, t.client, keys, args...).StringSlice()
	if err != nil {
		return nil, t.explain(err)
	}
	if len(answers) != len(keys)/2 {
		return nil, fmt.Errorf("redis %s: %d answers to %d messages, they may have been set", t.name, len(answers), len(keys)/2)
	}
	return answers, nil
}
