package pipeline

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

// Redis sets a key for each message: a row of the outbox, written in the
// transaction of the tables and carried by a relay. The number guards the SET, so
// that one that comes again or late changes nothing. See package effect/redisset.
type Redis struct {
	// Addr is the server's host:port. Required.
	Addr string `yaml:"addr,required"`
	// Set says what is set. Required.
	Set RedisSet `yaml:"set,required"`
	// Name tells one server from another in the outbox, so keep it while rows are
	// under way. Default: the name of the file.
	Name string `yaml:"name"`
	// Prefix is put before each key. Default: nothing.
	Prefix string `yaml:"prefix"`
	// Database is the number of the database. Default: 0.
	Database int `yaml:"database"`
	// User of the server's access lists. Default: the server's own.
	User string `yaml:"user"`
	// Password of the user. Default: none.
	Password string `yaml:"password"`
	// TLS is the encrypted connection, with the system's certificates. Default: false.
	TLS bool `yaml:"tls"`
	// TTL is how long a value lives. Default: 0, for ever.
	TTL time.Duration `yaml:"ttl"`
	// Remember is how long a number is kept after its key was set last; longer than
	// a row can wait in the outbox. Default: 0, for ever.
	Remember time.Duration `yaml:"remember"`
	// Timeout of one script. Default: 5s.
	Timeout time.Duration `yaml:"timeout"`
}

// RedisSet is what is set: sources as those of columns.
type RedisSet struct {
	// Key of the value. Required.
	Key string `yaml:"key,required"`
	// Value is the text that the key gets. Required.
	Value string `yaml:"value,required"`
	// Number rises with every change of the key, from 1, as a version does; the
	// higher one stays. Required.
	Number string `yaml:"number,required"`
}

// RedisServers are the servers of the Redis effects, with their names.
func (f *File) RedisServers() []Redis {
	var out []Redis
	for i := range f.Effect {
		if r := f.Effect[i].Redis; r != nil {
			named := *r
			named.Name = cmp.Or(r.Name, f.Name)
			out = append(out, named)
		}
	}
	return out
}

// set is a Redis effect, ready.
type set struct {
	name  string
	texts *effect.Texts
}

// sets are the Redis effects of a file without mistakes.
func (f *File) sets() (out []set) {
	for _, r := range f.RedisServers() {
		var sources []effect.Source
		for _, text := range []string{r.Set.Key, r.Set.Value, r.Set.Number} {
			s, err := effect.ParseSource(text)
			if err != nil {
				panic(fmt.Sprintf("pipeline: a file with mistakes is run: %v", err))
			}
			sources = append(sources, s)
		}
		out = append(out, set{r.Name, effect.NewTexts(sources...)})
	}
	return out
}

// redisRows are the outbox rows of a message. What it lacks is its own fault, for
// good.
func redisRows(sets []set, m *rollcall.Message, row RedisRow) ([]rollcall.Message, error) {
	var rows []rollcall.Message
	for _, s := range sets {
		texts, err := s.texts.Of(m)
		if err != nil {
			return nil, rollcall.Dead(fmt.Errorf("redis: %w", err))
		}
		key, value := texts[0], texts[1]
		number, err := strconv.ParseUint(texts[2], 10, 64)
		switch {
		case key == "":
			return nil, rollcall.Dead(fmt.Errorf("redis: the key is empty"))
		case err != nil || number == 0:
			return nil, rollcall.Dead(fmt.Errorf("redis: the number is %q: it has to be a whole number from 1", texts[2]))
		}
		r := row(s.name, key, number, []byte(value))
		r.ID, r.Time = m.ID, m.Time
		rows = append(rows, r)
	}
	return rows, nil
}

// redis finds what is wrong with the Redis effects.
func (c *checker) redis() {
	names := map[string]bool{}
	for i := range c.file.Effect {
		e := &c.file.Effect[i]
		if e.Redis == nil {
			continue
		}
		at := fmt.Sprintf("effect[%d].redis", i)
		name := cmp.Or(e.Redis.Name, c.file.Name)
		switch {
		case e.Table != nil || e.HTTP != nil || e.Publish != nil:
			c.problem(at, "make an entry of each: effect: [{table: …}, {redis: …}]", "one entry has redis and another effect")
		case i < c.lastTable():
			c.problem(at, "write the tables first: keys are set for messages that took effect there", "redis stands before a table")
		case names[name]:
			c.problem(at, "give each a name: redis: {name: cache, …}", "two redis effects have the name %q", name)
		}
		if strings.Contains(e.Redis.Addr, "/") {
			c.problem(at+".addr", "write addr: 127.0.0.1:6379; the password has a field of its own", "redis: addr is not host:port")
		}
		names[name] = true
		c.named(at+".name", name)
		for _, s := range []struct{ field, text string }{{"key", e.Redis.Set.Key}, {"value", e.Redis.Set.Value}, {"number", e.Redis.Set.Number}} {
			if _, err := effect.ParseSource(s.text); err != nil && s.text != "" {
				c.told(at+".set."+s.field, "redis: "+s.field+": ", err)
			}
		}
		for _, d := range []struct {
			field string
			value time.Duration
		}{{"ttl", e.Redis.TTL}, {"remember", e.Redis.Remember}, {"timeout", e.Redis.Timeout}} {
			if d.value < 0 || d.value > 0 && d.value < time.Millisecond {
				c.problem(at+"."+d.field, "write 1ms or more, or leave it out", "redis: %s: %v", d.field, d.value)
			}
		}
	}
}
