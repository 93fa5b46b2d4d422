package filelog

import (
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// DefaultMaxBytes is the default of Config.MaxBytes.
const DefaultMaxBytes = 4 << 20

// Config is the settings of a Log. The zero value is safe. Processes that share
// a file may differ in all of it, but Lease should be the same.
type Config struct {
	// Clock gives the time at which a message was stored, by which Retention
	// goes. Leases never use it. Default: the system's.
	Clock rollcall.Clock
	// Lease is how long the heartbeat of a member may stand still before others
	// take its partitions. A process that died is noticed at once. At least
	// 50 ms. Default: 3 s.
	Lease time.Duration
	// LockWait is how long to wait while another process writes. Default: 5 s.
	LockWait time.Duration
	// MaxBytes is the most bytes of a message: id, key, headers and body; at
	// most 256 MiB. Default: 4 MiB.
	MaxBytes int
	// NoCreate refuses destinations that do not exist, instead of creating
	// them in Lanes and Subscribe. Default: false.
	NoCreate bool
	// OnError is told what fails in the background (heartbeat, balancing,
	// retention) and is tried again. It must return soon. Default: nobody.
	OnError func(error)
	// Partitions is how many a destination gets that is created without being
	// told; 1 to 65536. Default: 8.
	Partitions int
	// Retention is how long messages are kept, by the time they were stored.
	// Default: 0, for ever.
	Retention time.Duration
	// Side is the destination of the senders' books, which is kept for 60 days at
	// least: books say what was lost to Retention. Default: rollcall.SideDestination.
	Side string
}

// sideRetention is how long books are kept at least.
const sideRetention = 60 * 24 * time.Hour

const (
	mostPartitions = 1 << 16
	mostBytes      = 256 << 20
)

func (c Config) withDefaults() (Config, error) {
	if c.Lease == 0 {
		c.Lease = 3 * time.Second
	}
	if c.LockWait == 0 {
		c.LockWait = 5 * time.Second
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	if c.Side == "" {
		c.Side = rollcall.SideDestination
	}
	if c.Partitions == 0 {
		c.Partitions = 8
	}
	return c, c.check()
}

func (c Config) check() error {
	switch {
	case c.Lease < 50*time.Millisecond:
		return configError("Lease", c.Lease, "use 50ms or more")
	case c.LockWait < 0:
		return configError("LockWait", c.LockWait, "use 0 for the default, or a positive time")
	case c.MaxBytes < 0 || c.MaxBytes > mostBytes:
		return configError("MaxBytes", c.MaxBytes, "use 1 to 268435456 (256 MiB)")
	case c.Retention < 0:
		return configError("Retention", c.Retention, "use 0 to keep messages for ever, or a positive time")
	}
	return checkPartitions(c.Partitions)
}

func checkPartitions(n int) error {
	if n < 1 || n > mostPartitions {
		return configError("Partitions", n, "use 1 to 65536")
	}
	return nil
}

func configError(field string, value any, next string) error {
	return fmt.Errorf("%w: filelog.Config.%s: %v: %s", rollcall.ErrConfig, field, value, next)
}

func (c Config) now() time.Time {
	if c.Clock == nil {
		return time.Now()
	}
	return c.Clock.Now()
}
