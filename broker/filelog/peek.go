package filelog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/slab"
)

var _ rollcall.Peeker = (*Source)(nil)

// window are the messages of one row of a partition: who looks at one mostly looks at
// those beside it next.
type window struct {
	partition   rollcall.Partition
	incarnation rollcall.Incarnation
	messages    map[int64]rollcall.Message
}

// Peek reads the message at a position, without touching any group.
func (s *Source) Peek(ctx context.Context, partition rollcall.Partition, at rollcall.Position) (rollcall.Message, error) {
	if err := s.log.ready(ctx); err != nil {
		return rollcall.Message{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var m rollcall.Message
	found := false
	err := s.log.read("", func(c *conn, v *view) error {
		i := slices.IndexFunc(v.parts[partition.Destination], func(p *part) bool { return p.number == partition.Number && p.incarnation == at.Incarnation })
		if i < 0 || at.Offset < v.parts[partition.Destination][i].first {
			return nil
		}
		if w := s.window; w != nil && w.partition == partition && w.incarnation == at.Incarnation {
			if m, found = w.messages[at.Offset]; found {
				return nil
			}
		}
		err := s.readWindow(c, v.parts[partition.Destination][i], partition, at)
		if m, found = s.window.messages[at.Offset]; found {
			return nil // what is damaged behind it is told when it is read
		}
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("filelog: %s: there is no offset %d in partition %d of %q", s.log.path, at.Offset, partition.Number, partition.Destination)
	}
	m.Destination, m.Partition = partition.Destination, partition.Number
	return m, err
}

// readWindow reads the row in which a position lies.
func (s *Source) readWindow(c *conn, p *part, partition rollcall.Partition, at rollcall.Position) error {
	s.window = &window{partition, at.Incarnation, make(map[int64]rollcall.Message)}
	return s.log.readChunks(c, p, at.Offset, func(ch *chunk) (bool, error) {
		var bad error
		var texts slab.Strings
		err := ch.each(p.first, func(offset int64, payload []byte) bool {
			var m rollcall.Message
			bad = decodePayload(payload, &m, &texts)
			s.window.messages[offset] = m
			return bad == nil
		})
		return false, errors.Join(err, bad)
	})
}
