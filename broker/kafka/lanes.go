package kafka

import (
	"strconv"
	"sync/atomic"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kgo"
)

// lanes of a topic are its partitions. A Key goes to the partition to which the Java
// client sends it (murmur2); messages without a Key are dealt out in runs, so that
// batches stay together.
type lanes struct {
	partitions int
	keyed      kgo.TopicPartitioner
	dealt      atomic.Uint32
}

// run is how many messages without a Key go to one partition before the next.
const run = 50

func newLanes(t *topic) *lanes {
	return &lanes{partitions: t.partitions, keyed: kgo.StickyKeyPartitioner(nil).ForTopic(t.name)}
}

// Pick implements rollcall.Lanes.
func (l *lanes) Pick(m *rollcall.Message) int32 {
	if m.Key == "" {
		return int32(l.dealt.Add(1) / run % uint32(l.partitions))
	}
	return int32(l.keyed.Partition(&kgo.Record{Key: []byte(m.Key)}, l.partitions))
}

// Name implements rollcall.Lanes.
func (l *lanes) Name(lane int32) string { return strconv.Itoa(int(lane)) }
