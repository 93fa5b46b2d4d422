package filelog

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/rollcall-mq/rollcall"
)

// Source is the receiving half of the log for some destinations. It is safe
// for concurrent use.
type Source struct {
	log          *Log
	destinations []string

	mu     sync.Mutex
	window *window // what Peek has read
}

var (
	_ rollcall.Source   = (*Source)(nil)
	_ rollcall.Measurer = (*Source)(nil)
)

// Source returns the receiving half for these destinations.
func (l *Log) Source(destinations ...string) *Source {
	names := slices.Clone(destinations)
	slices.Sort(names)
	return &Source{log: l, destinations: slices.Compact(names)}
}

// Capabilities is what the log can do.
func (s *Source) Capabilities() rollcall.Capabilities { return s.log.capabilities() }

func (l *Log) capabilities() rollcall.Capabilities {
	return rollcall.Capabilities{
		Broker:          "filelog",
		Version:         fmt.Sprint(schemaVersion),
		Exclusive:       true,
		Positions:       true,
		SettleConfirmed: true,
		Ordered:         true,
		MaxBytes:        l.config.MaxBytes,
		Late:            l.config.Retention,
	}
}

// Measure tells what lies in each partition, in the order of destinations and
// numbers. A destination that does not exist has none.
func (s *Source) Measure(ctx context.Context) ([]rollcall.Extent, error) {
	if err := s.log.ready(ctx); err != nil {
		return nil, err
	}
	var out []rollcall.Extent
	err := s.log.read("", func(_ *conn, v *view) error {
		for _, d := range s.destinations {
			for _, p := range v.parts[d] {
				out = append(out, rollcall.Extent{Partition: p.partition(), Incarnation: p.incarnation, First: p.first, End: p.end})
			}
		}
		return nil
	})
	return out, err
}

// Destinations lists what is there, in the order of names.
func (l *Log) Destinations(ctx context.Context) ([]string, error) {
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	var out []string
	err := l.read("", func(_ *conn, v *view) error {
		for d := range v.parts {
			out = append(out, d)
		}
		return nil
	})
	slices.SortFunc(out, strings.Compare)
	return out, err
}

// Settled is up to where a group has settled a partition: everything before
// Next. It is for tools: it lags by a second, and nobody starts from it.
type Settled struct {
	Partition rollcall.Partition
	Next      int64
}

// Settled tells what a group has settled, of the partitions where it has.
func (l *Log) Settled(ctx context.Context, group string) ([]Settled, error) {
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	var out []Settled
	err := l.read("", func(c *conn, v *view) error {
		next := make(map[int64]int64)
		err := c.rows(`SELECT part, next FROM settled WHERE grp = ?`, []any{[]byte(group)}, func(r *sql.Rows) (bool, error) {
			var id, n int64
			err := scan(r, &id, &n)
			next[id] = n
			return true, err
		})
		for _, list := range v.parts {
			for _, p := range list {
				if n, ok := next[p.id]; ok {
					out = append(out, Settled{p.partition(), n})
				}
			}
		}
		return err
	})
	slices.SortFunc(out, func(a, b Settled) int {
		if c := strings.Compare(a.Partition.Destination, b.Partition.Destination); c != 0 {
			return c
		}
		return int(a.Partition.Number) - int(b.Partition.Number)
	})
	return out, err
}
