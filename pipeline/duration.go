package pipeline

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads a time such as 100ms, 30s, 1h30m, and whole days: 14d,
// 1d12h.
func ParseDuration(s string) (time.Duration, error) {
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is no number of days", days)
	}
	whole := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return whole, nil
	}
	part, err := time.ParseDuration(rest)
	if err != nil || part < 0 {
		return 0, fmt.Errorf("%q is no time", rest)
	}
	return whole + part, nil
}
