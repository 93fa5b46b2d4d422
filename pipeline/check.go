package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/internal/jsonpath"
	"github.com/rollcall-mq/rollcall/pipeline/guarantee"
)

// check is what can be said without a connection.
func (f *File) check() []*Error {
	c := &checker{file: f}
	c.source()
	c.store()
	c.named("name", f.Name)
	c.dedup()
	c.deadLetters()
	if len(f.Effect) == 0 {
		c.problem("effect", requiredNext["effect"], "effect is empty")
	}
	for i := range f.Effect {
		c.effect(i)
	}
	c.http()
	c.redis()
	c.publishes()
	c.audit()
	c.guarantees()
	if len(c.problems) == 0 {
		c.tables()
	}
	return c.problems
}

type checker struct {
	file     *File
	problems []*Error
}

func (c *checker) problem(path, next, format string, args ...any) {
	c.problems = append(c.problems, c.file.Problem(path, next, format, args...))
}

// told is a problem that an error tells, with its next step.
func (c *checker) told(path, prefix string, err error) {
	what, next := told(err)
	c.problem(path, next, "%s%s", prefix, what)
}

// source: exactly one is chosen.
func (c *checker) source() {
	s := c.file.Source
	named := s.names()
	c.chosen("source", len(named) > 0, "embedded: {destination: orders}")
	if len(named) > 1 {
		c.problem("source", "keep one: a pipeline has one source", "source names several: %s", strings.Join(named, ", "))
	}
	if s.Embedded != nil {
		c.named("source.embedded.destination", s.Embedded.Destination)
	}
	c.kafka()
	c.rabbitmq()
	c.rocketmq()
}

// names are the brokers that are given: there should be one.
func (s *Source) names() (out []string) {
	for _, b := range []struct {
		name  string
		given bool
	}{{"embedded", s.Embedded != nil}, {"kafka", s.Kafka != nil}, {"rabbitmq", s.RabbitMQ != nil}, {"rocketmq", s.RocketMQ != nil}} {
		if b.given {
			out = append(out, b.name)
		}
	}
	return out
}

func (c *checker) chosen(path string, ok bool, example string) {
	if !ok {
		c.problem(path, "add to it: "+example, "%s names none", path)
	}
}

// named: a name is not empty and has no control characters.
func (c *checker) named(path, name string) {
	switch {
	case strings.TrimSpace(name) == "":
		c.problem(path, nextFor(path), "%s is empty", path)
	case strings.ContainsFunc(name, unicode.IsControl):
		c.problem(path, "use letters, digits, - and _", "%s holds control characters: %q", path, name)
	}
}

// strategies are the words of dedup.by.
var strategies = []string{string(rollcall.ByAuto), string(rollcall.ByStamp), string(rollcall.ByPosition), string(rollcall.ByKey), string(rollcall.ByNone)}

func (c *checker) dedup() {
	d := c.file.Dedup
	uses := map[string]bool{}
	for i, by := range d.By {
		path := fmt.Sprintf("dedup.by[%d]", i)
		switch {
		case by == string(guarantee.Lock), by == string(guarantee.Record): // guarantees says why
		case !slices.Contains(strategies, by):
			c.problem(path, didYouMean(by, strategies), "dedup.by: unknown strategy %q", by)
		}
		uses[by] = true
	}
	if uses["none"] && len(d.By) > 1 {
		c.problem("dedup.by", "write by: none, or take none out", "dedup.by: none stands alone")
	}
	if len(d.Key) > 0 && len(d.By) > 0 && !uses["auto"] && !uses["key"] {
		c.problem("dedup.key", "add key to dedup.by, or use auto", "dedup.key is given, but dedup.by does not use it")
	}
	for i, k := range d.Key {
		if err := keyPart(k); err != "" {
			c.problem(fmt.Sprintf("dedup.key[%d]", i), "use id, key, content, header.NAME or payload.PATH", "dedup.key: %q: %s", k, err)
		}
	}
}

// leastKeep is the shortest dead_letters.keep: nobody looks sooner.
const leastKeep = time.Hour

func (c *checker) deadLetters() {
	if d := c.file.DeadLetters; d != nil && d.Keep < leastKeep {
		c.problem("dead_letters.keep", "write 1h or more, such as keep: 30d; or take dead_letters out: then they are kept until you redrive or discard them",
			"dead_letters.keep is %v: nobody could look at a dead letter before it is discarded", d.Keep)
	}
}

// keyPart says what is wrong with one part of dedup.key, or nothing.
func keyPart(k string) string {
	switch {
	case k == "id", k == "key", k == "content", strings.HasPrefix(k, "header.") && len(k) > len("header."):
		return ""
	case strings.HasPrefix(k, "payload."):
		if _, err := jsonpath.Compile(strings.TrimPrefix(k, "payload.")); err != nil {
			return err.Error()
		}
		return ""
	}
	return "not something that can be a key"
}

// tables finds what is wrong with the effects whatever the database is.
func (c *checker) tables() {
	for i, err := range effect.Check(c.file.Tables()) {
		var e *Error
		if err != nil && errors.As(c.file.effectProblem(i, err), &e) {
			c.problems = append(c.problems, e)
		}
	}
}

// guarantees refuses what cannot hold.
func (c *checker) guarantees() {
	for _, r := range c.file.Setup().Refuse() {
		c.problem(r.Field, r.Next, "%s", r.What)
	}
}

func (c *checker) effect(i int) {
	at := fmt.Sprintf("effect[%d]", i)
	e := &c.file.Effect[i]
	t := e.Table
	if t == nil && (e.HTTP != nil || e.Redis != nil || e.Publish != nil) {
		return
	}
	if t == nil {
		c.problem(at, requiredNext["effect"], "%s names no effect", at)
		return
	}
	at += ".table"
	if err := dialect.Check(t.Name); err != nil {
		c.told(at+".name", "", err)
	}
	c.mode(at, t)
	for _, column := range slices.Sorted(maps.Keys(t.Columns)) {
		if err := dialect.Check(column); err != nil {
			c.told(at+".columns."+column, "", err)
		}
		if _, err := effect.ParseSource(t.Columns[column]); err != nil {
			c.told(at+".columns."+column, "column "+column+": ", err)
		}
	}
}

// modes are the words of effect.table.mode.
var modes = []string{string(effect.Insert), string(effect.Upsert), string(effect.Versioned), string(effect.Transition),
	string(effect.Set), string(effect.Delete), string(effect.Add)}

func (c *checker) mode(at string, t *Table) {
	switch {
	case !slices.Contains(modes, t.Mode):
		c.problem(at+".mode", didYouMean(t.Mode, modes), "unknown mode %q", t.Mode)
	case t.Mode == string(effect.Transition) && t.State == nil:
		c.problem(at+".mode", "add: state: {column: status, allow: {created: [paid], paid: [shipped]}}", "mode transition needs state")
	case t.Mode == string(effect.Versioned) && t.Version == nil:
		c.problem(at+".mode", "add: version: {column: version}", "mode version needs version")
	case t.Mode != string(effect.Transition) && t.State != nil:
		c.problem(at+".state", "use mode: transition, or take state out", "state is given, but mode %s does not use it", t.Mode)
	case t.Mode != string(effect.Versioned) && t.Version != nil:
		c.problem(at+".version", "use mode: version, or take version out", "version is given, but mode %s does not use it", t.Mode)
	}
}
