package filelog

import (
	"context"
	"fmt"

	"github.com/rollcall-mq/rollcall"
)

var (
	_ rollcall.Explainer = (*Source)(nil)
	_ rollcall.Noter     = (*Source)(nil)
	_ rollcall.SideMaker = (*Sender)(nil)
)

// Explain implements rollcall.Explainer. Between its first and its end a partition of
// the log has no holes: a record that is missing there is damage, see Log.Verify.
func (s *Source) Explain(ctx context.Context, partition rollcall.Partition, first, last int64) (holes []rollcall.Hole, err error) {
	if err := s.log.ready(ctx); err != nil {
		return nil, err
	}
	err = s.log.read("", func(_ *conn, v *view) error {
		list := v.parts[partition.Destination]
		if partition.Number < 0 || int(partition.Number) >= len(list) {
			return s.log.noDestination(fmt.Sprintf("%s/%d", partition.Destination, partition.Number))
		}
		p := list[partition.Number]
		if first < p.first {
			holes = append(holes, rollcall.Hole{First: max(first, 0), Last: min(last, p.first-1), Cause: rollcall.HoleRemoved})
		}
		if last >= p.end {
			holes = append(holes, rollcall.Hole{First: max(first, p.end), Last: last, Cause: rollcall.HoleBeyond})
		}
		return nil
	})
	return holes, err
}

// Noted implements rollcall.Noter: what Log.Settled tells, of these destinations.
func (s *Source) Noted(ctx context.Context, group string) (map[rollcall.Partition]int64, error) {
	settled, err := s.log.Settled(ctx, group)
	if err != nil {
		return nil, err
	}
	out := make(map[rollcall.Partition]int64)
	for _, x := range settled {
		for _, d := range s.destinations {
			if x.Partition.Destination == d {
				out[x.Partition] = x.Next
			}
		}
	}
	return out, nil
}

// MakeSide implements rollcall.SideMaker: a destination of one partition, unless it is
// there. Its messages are kept as long as all others are, Config.Retention.
func (s *Sender) MakeSide(ctx context.Context, destination string) error {
	return s.log.shape(ctx, "create", destination, 1, func(have int) (bool, error) { return have == 0, nil })
}
