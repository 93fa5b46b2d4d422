package effect

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// stored makes of what a client read what bind would have made of it. What is
// none of that stays as it is, and equals nothing.
func stored(v any, c dialect.Column, d dialect.Dialect) any {
	if b, ok := v.([]byte); ok && c.Kind != dialect.Loose && c.Kind != dialect.Bytes {
		v = string(b)
	}
	switch c.Kind {
	case dialect.Int:
		if n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64); err == nil {
			return n
		}
	case dialect.Float:
		if f, err := strconv.ParseFloat(fmt.Sprint(v), 64); err == nil {
			return f
		}
	case dialect.Bytes:
		if s, ok := v.(string); ok && d.Family == dialect.FamilyPostgreSQL {
			v, _ = hex.DecodeString(s)
		} else if ok {
			v = []byte(s)
		}
	case dialect.Bool:
		return v == "true"
	}
	s, ok := v.(string)
	if !ok {
		return v
	}
	switch c.Kind {
	case dialect.Decimal:
		return exact(s)
	case dialect.Timestamp, dialect.Date:
		return moment(s)
	case dialect.JSON:
		return document(s)
	case dialect.UUID:
		return strings.ToLower(s)
	case dialect.String:
		if c.Fixed {
			return strings.TrimRight(s, " ")
		}
	}
	return v
}

// given is a value as it is bound: a number or bytes where the driver knows
// them, else text.
func given(v any) any {
	switch v := v.(type) {
	case exact:
		return string(v)
	case moment:
		return string(v)
	case document:
		return string(v)
	}
	return v
}

// inWords is a value as text, as PostgreSQL gets them all: nil is NULL.
func inWords(v any) *string {
	var s string
	switch v := v.(type) {
	case nil:
		return nil
	case []byte:
		s = hex.EncodeToString(v)
	case float64:
		s = strconv.FormatFloat(v, 'g', -1, 64)
	default:
		s = fmt.Sprint(v)
	}
	return &s
}

// sizeOf is about how many bytes the values take in a statement.
func sizeOf(values []any) int {
	n := 0
	for _, v := range values {
		n += 16
		switch v := v.(type) {
		case string:
			n += len(v)
		case exact:
			n += len(v)
		case document:
			n += len(v)
		case []byte:
			n += len(v)
		}
	}
	return n
}

// equal compares two values as the column keeps them.
func equal(a, b any) bool {
	switch x := a.(type) {
	case []byte:
		y, ok := b.([]byte)
		return ok && bytes.Equal(x, y)
	case exact:
		y, ok := b.(exact)
		return ok && x.same(y)
	case document:
		y, ok := b.(document)
		return ok && sameJSON(decodeJSON(string(x)), decodeJSON(string(y)))
	}
	if _, ok := b.([]byte); ok {
		return false
	}
	return a == b
}

func (x exact) same(y exact) bool {
	a, err1 := parseDecimal(string(x))
	b, err2 := parseDecimal(string(y))
	return err1 == nil && err2 == nil && a.cmp(b) == 0
}

// keyOf is equal for two rows if and only if the unique index takes them for
// the same.
func keyOf(values []any, key []int) string {
	if len(key) == 1 {
		if s, ok := values[key[0]].(string); ok {
			return "s" + s
		}
	}
	var b []byte
	for _, k := range key {
		part := keyPart(values[k])
		b = fmt.Appendf(b, "%d:", len(part))
		b = append(b, part...)
	}
	return string(b)
}

func keyPart(v any) string {
	switch v := v.(type) {
	case string:
		return "s" + v
	case []byte:
		return "b" + string(v)
	case int64:
		return fmt.Sprintf("i%d", v)
	case exact:
		if d, err := parseDecimal(string(v)); err == nil {
			return "d" + d.trim(0).String()
		}
	}
	return fmt.Sprintf("f%v", v)
}

// trim takes zeros at the end away, down to so many digits after the point.
func (d decimal) trim(scale int) decimal {
	ten := big.NewInt(10)
	for d.scale > scale {
		whole, rest := new(big.Int).QuoRem(d.unscaled, ten, new(big.Int))
		if rest.Sign() != 0 {
			break
		}
		d = decimal{whole, d.scale - 1}
	}
	return d
}

// addExact adds to a column of decimals.
func addExact(current, amount any, c dialect.Column) (any, error) {
	x, ok1 := current.(exact)
	y, ok2 := amount.(exact)
	a, err1 := parseDecimal(string(x))
	b, err2 := parseDecimal(string(y))
	if !ok1 || !ok2 || err1 != nil || err2 != nil {
		return nil, fmt.Errorf("it holds %s, to which nothing can be added", show(current))
	}
	return a.add(b).fit(c)
}

// decodeJSON keeps the digits of numbers; nil for what is no JSON.
func decodeJSON(text string) (v any) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}

// sameJSON: numbers by their value, objects without order.
func sameJSON(a, b any) bool {
	switch x := a.(type) {
	case json.Number:
		y, ok := b.(json.Number)
		return ok && (x == y || exact(x).same(exact(y)))
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !sameJSON(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			w, ok := y[k]
			if !ok || !sameJSON(v, w) {
				return false
			}
		}
		return true
	}
	return a == b
}

// losesDigits is a number that MySQL's JSON would not keep: it has integers of
// 64 bits and floats.
func losesDigits(v any) string {
	return findJSON(v, func(v any) bool {
		n, ok := v.(json.Number)
		if !ok {
			return false
		}
		if _, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
			return false
		}
		_, err := bindNumber(n.String(), dialect.Column{Affinity: dialect.Real})
		return err != nil
	})
}

// hasZero: somewhere is a text with U+0000.
func hasZero(v any) bool {
	return findJSON(v, func(v any) bool {
		s, ok := v.(string)
		return ok && strings.Contains(s, "\x00")
	}) != ""
}

// findJSON is the first name or value inside of v that is, as text.
func findJSON(v any, is func(any) bool) string {
	if is(v) {
		return fmt.Sprint(v)
	}
	switch v := v.(type) {
	case []any:
		for _, w := range v {
			if s := findJSON(w, is); s != "" {
				return s
			}
		}
	case map[string]any:
		for k, w := range v {
			if is(k) {
				return k
			}
			if s := findJSON(w, is); s != "" {
				return s
			}
		}
	}
	return ""
}
