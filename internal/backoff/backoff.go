// Package backoff computes how long to wait before trying again.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Delay is first doubled with every try (0, 1, …) up to most, with a jitter of
// plus or minus a fifth so that many waiters do not come back together.
func Delay(try int, first, most time.Duration) time.Duration {
	d := first
	for ; try > 0 && d < most; try-- {
		d *= 2
	}
	d = min(d, most)
	if d <= 0 {
		return 0
	}
	return d - d/5 + rand.N(2*d/5+1)
}
