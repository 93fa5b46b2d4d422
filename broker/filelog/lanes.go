package filelog

import (
	"context"
	"encoding/binary"
	"strconv"
	"sync/atomic"

	"github.com/rollcall-mq/rollcall"
)

// Lanes are the partitions of a destination, which is created with
// Config.Partitions if it is not there (ErrNoDestination under NoCreate). A
// Raise is seen by the next call.
func (s *Sender) Lanes(ctx context.Context, destination string) (rollcall.Lanes, error) {
	l := s.log
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	for {
		var total int
		err := l.read("", func(_ *conn, v *view) error {
			total = len(v.parts[destination])
			return nil
		})
		if err != nil {
			return nil, err
		}
		if total > 0 {
			return &lanes{total: uint32(total)}, nil
		}
		if err := l.ensure(ctx, destination); err != nil {
			return nil, err
		}
	}
}

type lanes struct {
	total uint32
	next  atomic.Uint32
}

// Pick is Kafka's default: murmur2 of the Key, so that a topic mirrored there
// keeps its keys together; without a Key one partition after the other.
func (l *lanes) Pick(m *rollcall.Message) int32 {
	if m.Key == "" {
		return int32((l.next.Add(1) - 1) % l.total)
	}
	return int32((murmur2(m.Key) & 0x7fffffff) % l.total)
}

// Name is the partition's number.
func (l *lanes) Name(lane int32) string { return strconv.Itoa(int(lane)) }

// murmur2 with the seed that Kafka's clients use.
func murmur2(key string) uint32 {
	const m, r = 0x5bd1e995, 24
	b := []byte(key)
	h := uint32(0x9747b28c) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
