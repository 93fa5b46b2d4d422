package effect

import (
	"fmt"
	"math"
	"strings"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// looksAt are the columns that the mode must see of a row that is there.
func (e *entry) looksAt() []int {
	switch e.t.Mode {
	case Versioned, Transition:
		return e.guides
	case Add:
		return e.update
	case Insert:
		if len(e.key) > 0 {
			return e.every
		}
	}
	return nil
}

// needsKey reports whether the key is needed beside the values: to look rows up,
// to delete them or to name them.
func (e *entry) needsKey() bool {
	return len(e.looksAt()) > 0 || len(e.target.entries) > 1 || e.t.Mode == Delete
}

// decide says what becomes of the message, without changing anything.
func (e *entry) decide(s *rowState, values []any) error {
	switch e.t.Mode {
	case Insert:
		if len(e.key) > 0 && s.exists {
			return e.decideInsert(s, values)
		}
	case Versioned:
		return e.decideVersion(s, values[e.guide].(int64))
	case Transition:
		return e.decideTransition(s, values[e.guide].(string))
	case Add:
		_, err := e.sums(s, values)
		return err
	}
	return nil
}

func (e *entry) decideInsert(s *rowState, values []any) error {
	var differ []string
	for i, v := range values {
		if !equal(v, s.current[i]) {
			differ = append(differ, fmt.Sprintf("%s is %s, the message says %s", e.names[i], show(s.current[i]), show(v)))
		}
	}
	if len(differ) == 0 {
		return rollcall.Repeated
	}
	return dataError("same key, other content: table %s, row %s: %s", e.t.Name, e.rowName(s), strings.Join(differ, "; "))
}

func (e *entry) decideVersion(s *rowState, version int64) error {
	next := e.t.Version.Rule == RuleNext
	if !s.exists {
		switch first := e.t.Version.First; {
		case next && version > first:
			return rollcall.Early
		case next && version < first:
			return dataError("version %d of table %s, row %s: versions begin at %d", version, e.t.Name, e.rowName(s), first)
		}
		return nil
	}
	current, ok := s.current[0].(int64)
	switch {
	case !ok:
		return dataError("table %s, row %s: its version is %s, which is no whole number: mend the row, then redrive", e.t.Name, e.rowName(s), show(s.current[0]))
	case version <= current:
		return rollcall.Stale
	case next && version > current+1:
		return rollcall.Early
	}
	return nil
}

func (e *entry) decideTransition(s *rowState, to string) error {
	m := e.machine
	if !s.exists {
		if m.initial[to] {
			return nil
		}
		return rollcall.Early
	}
	from, ok := s.current[0].(string)
	switch {
	case !ok || m.next[from] == nil:
		return dataError("table %s, row %s: its state is %s, which is not declared: mend the row or the states, then redrive", e.t.Name, e.rowName(s), show(s.current[0]))
	case m.next[from][to]:
		return nil
	case m.later[from][to]: // in a cycle the same state, too: the step between is missing
		return rollcall.Early
	case from == to, m.later[to][from]:
		return rollcall.Stale
	}
	return dataError("table %s, row %s: from state %q there is no way to %q", e.t.Name, e.rowName(s), from, to)
}

// apply changes the state as decide allowed.
func (e *entry) apply(s *rowState, values []any) {
	switch e.t.Mode {
	case Delete:
		s.exists, s.deleted, s.writes = false, true, nil
		return
	case Add:
		sums, _ := e.sums(s, values)
		values = append([]any(nil), values...)
		for i, u := range e.update {
			values[u] = sums[i]
		}
	}
	e.merge(s, values)
	s.exists = true
	if at := e.looksAt(); len(at) > 0 {
		s.current = pick(values, at)
	}
}

// merge adds a write, or changes the last one as the database would: of a row
// that is there only the columns of Update change.
func (e *entry) merge(s *rowState, values []any) {
	if n := len(s.writes); n > 0 && s.writes[n-1].e == e && len(e.key) > 0 {
		last := append([]any(nil), s.writes[n-1].values...)
		for _, u := range e.update {
			last[u] = values[u]
		}
		s.writes[n-1].values = last
		return
	}
	s.writes = append(s.writes, write{e, values})
}

// sums are the new values of the columns of Update.
func (e *entry) sums(s *rowState, values []any) ([]any, error) {
	out := make([]any, len(e.update))
	for i, u := range e.update {
		if !s.exists {
			out[i] = values[u]
			continue
		}
		v, err := addTo(s.current[i], values[u], e.columns[u])
		if err != nil {
			return nil, dataError("table %s, row %s, column %s: %w", e.t.Name, e.rowName(s), e.names[u], err)
		}
		out[i] = v
	}
	return out, nil
}

// checkAmount refuses what cannot be added.
func checkAmount(v any, c dialect.Column) error {
	switch v := v.(type) {
	case int64:
		return nil
	case float64:
		if c.Affinity == dialect.Integer {
			return fmt.Errorf("%v is no whole number, and the column is %s", v, c.Type)
		}
		return nil
	case exact:
		return nil
	case string:
		_, err := parseDecimal(v)
		if err == nil && c.Affinity == dialect.Numeric {
			err = fmt.Errorf("the column is %s", c.Type)
		}
		if err != nil {
			return fmt.Errorf("%.60s: %w", v, err)
		}
		return nil
	}
	return fmt.Errorf("%s cannot be added", show(v))
}

// addTo adds exactly in INTEGER and TEXT columns, as floats in the others
// (Approximate). A value that is no number is never taken for 0.
func addTo(current, amount any, c dialect.Column) (any, error) {
	if c.Kind == dialect.Decimal {
		return addExact(current, amount, c)
	}
	switch c.Affinity {
	case dialect.Integer:
		a, ok1 := current.(int64)
		b, ok2 := amount.(int64)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("it holds %s, to which nothing can be added", show(current))
		}
		if b > 0 && a > math.MaxInt64-b || b < 0 && a < math.MinInt64-b {
			return nil, fmt.Errorf("%d + %d is beyond 64 bits", a, b)
		}
		if c.Kind == dialect.Int {
			return bindInt(fmt.Sprint(a+b), c)
		}
		return a + b, nil
	case dialect.Text:
		text, ok := current.(string)
		a, err := parseDecimal(text)
		if !ok || err != nil {
			return nil, fmt.Errorf("it holds %s, to which nothing can be added", show(current))
		}
		b, err := parseDecimal(amount.(string))
		if err != nil {
			return nil, err
		}
		if c.Kind == dialect.String {
			return bindString(a.add(b).String(), c)
		}
		return a.add(b).String(), nil
	}
	a, ok1 := float(current)
	b, ok2 := float(amount)
	if !ok1 || !ok2 || math.IsInf(a+b, 0) {
		return nil, fmt.Errorf("%s + %s is no number", show(current), show(amount))
	}
	return a + b, nil
}

func float(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// show is a value for people, cut short.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("%.60q", v)
	case []byte:
		return fmt.Sprintf("%d bytes", len(v))
	}
	return fmt.Sprint(v)
}

// rowName is the key of a row for people.
func (e *entry) rowName(s *rowState) string {
	parts := make([]string, len(s.key))
	for i, v := range s.key {
		parts[i] = e.names[e.key[i]] + "=" + show(v)
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
