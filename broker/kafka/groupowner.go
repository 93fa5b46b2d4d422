package kafka

import (
	"context"
	"fmt"
	"sync"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kadm"
)

// groupOwner starts where Kafka has the group: for those who have no store of ours.
type groupOwner struct {
	source *Source
	group  string

	busy sync.RWMutex // read-locked while a batch is in work: partitions wait for it
}

// Assigned implements rollcall.Owner.
func (o *groupOwner) Assigned(ctx context.Context, assignments []rollcall.Assignment) ([]rollcall.Start, error) {
	numbers := make([]int32, len(assignments))
	for i, a := range assignments {
		numbers[i] = a.Partition.Number
	}
	return o.committed(ctx, numbers)
}

// committed are the positions that Kafka has; the earliest where it has none.
func (o *groupOwner) committed(ctx context.Context, numbers []int32) ([]rollcall.Start, error) {
	offsets, err := o.source.cluster.admin.FetchOffsets(kadm.RequireStable(ctx), o.group)
	if err != nil {
		return nil, fmt.Errorf("kafka: group %q: its committed offsets: %w", o.group, err)
	}
	starts := make([]rollcall.Start, len(numbers))
	for i, n := range numbers {
		starts[i].Token = 1
		at, ok := offsets.Lookup(o.source.topic.name, n)
		switch {
		case ok && at.Err != nil:
			return nil, fmt.Errorf("kafka: group %q: its committed offset of partition %d: %w", o.group, n, at.Err)
		case ok && at.At >= 0:
			starts[i].Position = rollcall.Position{Incarnation: o.source.topic.id, Offset: at.At}
		}
	}
	return starts, nil
}

// Revoked implements rollcall.Owner: it waits for the batch in work.
func (o *groupOwner) Revoked(context.Context, []rollcall.Partition) {
	o.busy.Lock()
	defer o.busy.Unlock()
}

// Lost implements rollcall.Owner.
func (o *groupOwner) Lost([]rollcall.Partition) {}
