package effect

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/internal/jsonpath"
)

// bind makes of a value what is bound for a column, so that what is stored has
// the same digits as what was sent: nil, int64, float64, string or []byte, in
// the form in which the column gives it back. Two values that are equal in the
// column are equal here.
func bind(v value, c dialect.Column) (any, error) {
	switch {
	case v.kind == jsonpath.Null:
		return nil, nil
	case c.Kind != dialect.Loose:
		return bindTyped(v, c)
	case v.kind == jsonpath.Number:
		return bindNumber(v.text, c)
	case v.kind == jsonpath.Bool && c.Affinity != dialect.Text:
		if c.Affinity == dialect.Real {
			return nil, fmt.Errorf("%s is no number, and the column is %s", v.text, c.Type)
		}
		return map[string]int64{"true": 1, "false": 0}[v.text], nil
	case !v.time.IsZero() && c.Affinity == dialect.Integer:
		return v.time.UnixMilli(), nil
	case v.raw && c.Affinity == dialect.Blob:
		return []byte(v.text), nil
	}
	if v.raw && !utf8.ValidString(v.text) {
		return nil, fmt.Errorf("the payload is not UTF-8, and the column is %s: use a BLOB column", c.Type)
	}
	return bindText(v.text, c)
}

// bindText binds text. Columns of numbers turn text that looks like one into
// one, so it must pass as a number first.
func bindText(s string, c dialect.Column) (any, error) {
	if c.Affinity == dialect.Text || c.Affinity == dialect.Blob {
		return s, nil
	}
	if n := strings.Trim(s, " \t\n\v\f\r"); looksNumeric(n) {
		return bindNumber(n, c)
	}
	if c.Affinity == dialect.Numeric {
		return s, nil
	}
	return nil, fmt.Errorf("%.40q is no number, and the column is %s", s, c.Type)
}

func looksNumeric(s string) bool {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "+"), "-")
	mantissa, exponent, has := strings.Cut(strings.ToLower(s), "e")
	if has {
		exponent = strings.TrimPrefix(strings.TrimPrefix(exponent, "+"), "-")
		if exponent == "" || strings.Trim(exponent, "0123456789") != "" {
			return false
		}
	}
	whole, part, _ := strings.Cut(mantissa, ".")
	return whole+part != "" && strings.Trim(whole+part, "0123456789") == ""
}

// bindNumber binds the digits of a number.
func bindNumber(digits string, c dialect.Column) (any, error) {
	if c.Affinity == dialect.Text {
		return digits, nil
	}
	if c.Affinity != dialect.Real {
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
			return n, nil
		}
		if c.Affinity == dialect.Blob {
			return digits, nil // the column keeps text as it is
		}
	}
	d, err := parseDecimal(digits)
	if err != nil {
		return nil, fmt.Errorf("%.60s: %w", digits, err)
	}
	if c.Affinity != dialect.Real {
		if n, ok := d.int64(); ok {
			return n, nil
		}
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%.60s is too large for the column, which is %s: use a TEXT column", digits, c.Type)
	}
	back, err := parseDecimal(strconv.FormatFloat(f, 'e', -1, 64))
	if err != nil || back.cmp(d) != 0 {
		return nil, fmt.Errorf("%.60s would lose digits in the column, which is %s: use a TEXT column", digits, c.Type)
	}
	return f + 0, nil // no negative zero
}

// maxScale bounds the digits that a decimal may have before and after the
// point: a message must not order gigabytes of zeros.
const maxScale = 1000

// decimal is unscaled / 10^scale.
type decimal struct {
	unscaled *big.Int
	scale    int
}

func parseDecimal(s string) (decimal, error) {
	if !looksNumeric(s) {
		return decimal{}, fmt.Errorf("it is no number")
	}
	mantissa, exponent, has := strings.Cut(strings.ToLower(s), "e")
	exp := 0
	if has {
		n, err := strconv.Atoi(exponent)
		if err != nil || n > maxScale || n < -maxScale {
			return decimal{}, fmt.Errorf("its exponent is beyond %d", maxScale)
		}
		exp = n
	}
	whole, part, _ := strings.Cut(mantissa, ".")
	if len(whole)+len(part) > maxScale {
		return decimal{}, fmt.Errorf("it has more than %d digits", maxScale)
	}
	u, ok := new(big.Int).SetString(strings.TrimPrefix(whole+part, "+"), 10)
	if !ok {
		return decimal{}, fmt.Errorf("it is no number")
	}
	d := decimal{u, len(part) - exp}
	if d.scale < 0 {
		d = d.rescale(0)
	}
	return d, nil
}

// rescale gives it at least so many digits after the point.
func (d decimal) rescale(scale int) decimal {
	if scale <= d.scale {
		return d
	}
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale-d.scale)), nil)
	return decimal{ten.Mul(ten, d.unscaled), scale}
}

func (d decimal) cmp(o decimal) int {
	scale := max(d.scale, o.scale)
	return d.rescale(scale).unscaled.Cmp(o.rescale(scale).unscaled)
}

// int64 is its value if it is whole and fits.
func (d decimal) int64() (int64, bool) {
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.scale)), nil)
	whole, rest := new(big.Int).QuoRem(d.unscaled, ten, new(big.Int))
	return whole.Int64(), rest.Sign() == 0 && whole.IsInt64()
}

// add is the exact sum; it has as many digits after the point as the longer.
func (d decimal) add(o decimal) decimal {
	scale := max(d.scale, o.scale)
	return decimal{new(big.Int).Add(d.rescale(scale).unscaled, o.rescale(scale).unscaled), scale}
}

// String is it in plain digits.
func (d decimal) String() string {
	s := new(big.Int).Abs(d.unscaled).String()
	if d.scale > 0 {
		if len(s) <= d.scale {
			s = strings.Repeat("0", d.scale-len(s)+1) + s
		}
		s = s[:len(s)-d.scale] + "." + s[len(s)-d.scale:]
	}
	if d.unscaled.Sign() < 0 {
		return "-" + s
	}
	return s
}
