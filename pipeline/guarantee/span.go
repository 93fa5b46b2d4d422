package guarantee

import (
	"fmt"
	"strings"
	"time"
)

// Span is a time as the pipeline file writes it: 14d, 1d12h, 30s.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	if d == 0 {
		return "0s"
	}
	var out string
	if d >= day {
		out = fmt.Sprintf("%dd", d/day)
		d %= day
	}
	if d == 0 {
		return out
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return out + text
}
