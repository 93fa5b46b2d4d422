package effect

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/internal/jsonpath"
)

// Values of columns that know what they hold are int64, float64, string,
// []byte and bool, and these.
type (
	exact    string // a decimal's digits
	moment   string // a timestamp in UTC or a date, as SQL writes it
	document string // JSON
)

const (
	secondsLayout = "2006-01-02 15:04:05.000000"
	dateLayout    = "2006-01-02"
)

// bindTyped makes of a value what a column of a declared type holds, without
// changing it: what does not fit is an error. The servers would be less
// careful: MySQL rounds decimals and PostgreSQL cuts spaces.
func bindTyped(v value, c dialect.Column) (any, error) {
	switch c.Kind {
	case dialect.Int, dialect.Decimal, dialect.Float:
		return bindTypedNumber(v, c)
	case dialect.Bytes:
		return bindBytes(v.text, c)
	case dialect.Bool:
		if v.text == "true" || v.text == "false" {
			return v.text == "true", nil
		}
	case dialect.Timestamp, dialect.Date:
		return bindTime(v, c)
	case dialect.JSON:
		return bindJSON(v, c)
	case dialect.UUID:
		return bindUUID(v.text, c)
	default:
		return bindString(v.text, c)
	}
	return nil, misfit(v.text, c)
}

func misfit(s string, c dialect.Column) error {
	return fmt.Errorf("%.40q is none of the values of the column, which is %s", s, c.Type)
}

func bindTypedNumber(v value, c dialect.Column) (any, error) {
	digits := strings.Trim(v.text, " \t\n\v\f\r")
	switch {
	case !v.time.IsZero() && c.Kind == dialect.Int:
		digits = strconv.FormatInt(v.time.UnixMilli(), 10)
	case v.kind == jsonpath.Bool && c.Kind != dialect.Float:
		digits = map[string]string{"true": "1", "false": "0"}[v.text]
	case !looksNumeric(digits):
		return nil, fmt.Errorf("%.40q is no number, and the column is %s", v.text, c.Type)
	}
	switch c.Kind {
	case dialect.Int:
		return bindInt(digits, c)
	case dialect.Decimal:
		return bindDecimal(digits, c)
	}
	return bindFloat(digits, c)
}

func bindInt(digits string, c dialect.Column) (any, error) {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		d, err := parseDecimal(digits)
		if err != nil {
			return nil, fmt.Errorf("%.60s: %w", digits, err)
		}
		var ok bool
		if n, ok = d.int64(); !ok {
			return nil, fmt.Errorf("%.60s is no whole number of 64 bits, and the column is %s", digits, c.Type)
		}
	}
	if n < c.Least || n > c.Most {
		return nil, fmt.Errorf("%d is out of the range of the column, which is %s", n, c.Type)
	}
	return n, nil
}

func bindDecimal(digits string, c dialect.Column) (any, error) {
	d, err := parseDecimal(digits)
	if err != nil {
		return nil, fmt.Errorf("%.60s: %w", digits, err)
	}
	return d.fit(c)
}

// fit gives the decimal the digits of the column, if it needs no more.
func (d decimal) fit(c dialect.Column) (any, error) {
	if c.Scale >= 0 && d.scale > c.Scale {
		d = d.trim(c.Scale)
	}
	if c.Scale >= 0 {
		d = d.rescale(c.Scale)
		if d.scale > c.Scale {
			return nil, fmt.Errorf("%.60s has more than %d digits after the point, and the column is %s", d, c.Scale, c.Type)
		}
		if len(strings.TrimLeft(d.unscaled.String(), "-")) > c.Precision && d.unscaled.Sign() != 0 {
			return nil, fmt.Errorf("%.60s is too large for the column, which is %s", d, c.Type)
		}
	}
	if c.Most == 1 && d.unscaled.Sign() < 0 {
		return nil, fmt.Errorf("%.60s is negative, and the column is %s", d, c.Type)
	}
	return exact(d.String()), nil
}

func bindFloat(digits string, c dialect.Column) (any, error) {
	v, err := bindNumber(digits, c) // its affinity is Real
	if f, ok := v.(float64); ok && err == nil && c.Single {
		if short, err := strconv.ParseFloat(digits, 32); err != nil || strconv.FormatFloat(short, 'e', -1, 32) != strconv.FormatFloat(f, 'e', -1, 64) {
			return nil, fmt.Errorf("%.60s would lose digits in the column, which is %s", digits, c.Type)
		}
	}
	return v, err
}

func bindString(s string, c dialect.Column) (any, error) {
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("the payload is not UTF-8, and the column is %s: use a column of bytes", c.Type)
	}
	switch n := utf8.RuneCountInString(s); {
	case c.NoZero && strings.Contains(s, "\x00"):
		return nil, fmt.Errorf("it has the character U+0000 (NUL), which no text of PostgreSQL can hold: use a bytea column")
	case c.Values != nil && !holds(c.Values, s):
		return nil, misfit(s, c)
	case c.Length > 0 && n > c.Length:
		return nil, fmt.Errorf("it has %d characters, and the column is %s", n, c.Type)
	case c.Octets > 0 && c.Values == nil && len(s) > c.Octets:
		return nil, fmt.Errorf("it has %d bytes, and the column, which is %s, holds %d", len(s), c.Type, c.Octets)
	case c.Fixed && strings.HasSuffix(s, " "):
		return nil, fmt.Errorf("%.40q would lose the spaces at its end in the column, which is %s: use VARCHAR", s, c.Type)
	}
	for _, r := range s {
		if c.Repertoire > 0 && r > c.Repertoire {
			return nil, fmt.Errorf("the column's character set has no %q: use utf8mb4", r)
		}
	}
	return s, nil
}

func holds(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

func bindBytes(s string, c dialect.Column) (any, error) {
	if c.Octets > 0 && (len(s) > c.Octets || c.Fixed && len(s) != c.Octets) {
		return nil, fmt.Errorf("it has %d bytes, and the column is %s", len(s), c.Type)
	}
	return []byte(s), nil
}

// bindTime takes RFC 3339 and what SQL writes. What says where on the earth it
// is becomes UTC; a column that is a point in time demands it.
func bindTime(v value, c dialect.Column) (any, error) {
	if c.Kind == dialect.Date {
		if !v.time.IsZero() {
			return moment(v.time.UTC().Format(dateLayout)), nil
		}
		if _, err := time.Parse(dateLayout, v.text); err != nil {
			return nil, misfit(v.text, c)
		}
		return moment(v.text), nil
	}
	digits := time.Duration(math.Pow10(9 - c.Digits))
	if !v.time.IsZero() {
		return moment(v.time.UTC().Truncate(digits).Format(secondsLayout)), nil
	}
	t, err := time.Parse(time.RFC3339Nano, strings.Replace(v.text, " ", "T", 1))
	if err != nil && !c.Zoned {
		t, err = time.Parse("2006-01-02T15:04:05.999999999", strings.Replace(v.text, " ", "T", 1))
	}
	switch {
	case err != nil && c.Zoned:
		return nil, fmt.Errorf("%.40q is no time with an offset, as 2026-01-02T15:04:05Z, and the column is %s", v.text, c.Type)
	case err != nil:
		return nil, misfit(v.text, c)
	case t.Nanosecond()%int(digits) != 0:
		return nil, fmt.Errorf("%.40q has more than %d digits after the second, and the column is %s", v.text, c.Digits, c.Type)
	}
	return moment(t.UTC().Format(secondsLayout)), nil
}

// bindJSON: parts of the payload are what they are there, texts become strings.
func bindJSON(v value, c dialect.Column) (any, error) {
	text := v.text
	if v.kind == jsonpath.String && !v.json && !v.raw {
		b, err := json.Marshal(v.text)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	if !utf8.ValidString(text) || !json.Valid([]byte(text)) {
		return nil, fmt.Errorf("it is not JSON, and the column is %s", c.Type)
	}
	decoded := decodeJSON(text)
	if c.NoZero && hasZero(decoded) {
		return nil, fmt.Errorf("it has the character U+0000 (NUL), which jsonb cannot hold: use a bytea column")
	}
	if c.Strict {
		if n := losesDigits(decoded); n != "" {
			return nil, fmt.Errorf("%.60s would lose digits in the column, which is %s: send it as a text", n, c.Type)
		}
	}
	return document(text), nil
}

func bindUUID(s string, c dialect.Column) (any, error) {
	hex := strings.ToLower(s)
	if len(hex) != 36 {
		return nil, misfit(s, c)
	}
	for i, r := range hex {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (r == '-') || !dash && !strings.ContainsRune("0123456789abcdef", r) {
			return nil, misfit(s, c)
		}
	}
	return hex, nil
}
