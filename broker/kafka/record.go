package kafka

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/slab"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ours are the headers that belong to rollcall.
const ours = "rollcall-"

// record is a message as Kafka keeps it: the stamp and the id are headers, all else
// has its place. An error means that it cannot be sent as it is: nothing was.
func record(t *topic, m *rollcall.Message, now time.Time) (*kgo.Record, error) {
	r := &kgo.Record{Topic: t.name, Partition: m.Partition, Value: m.Body, Timestamp: m.Time}
	if m.Key != "" {
		r.Key = []byte(m.Key)
	}
	r.Headers = make([]kgo.RecordHeader, 0, len(m.Headers)+3)
	if !m.Stamp.IsZero() {
		stamp := rollcall.AppendStamp(make([]byte, 0, rollcall.MaxStampSize), m.Stamp)
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: rollcall.StampHeader, Value: stamp})
	}
	if m.ID != "" {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: rollcall.IDHeader, Value: []byte(m.ID)})
	}
	if t.wouldRemove(m.Time, now) {
		r.Timestamp = now
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: timeHeader, Value: binary.BigEndian.AppendUint64(nil, uint64(m.Time.UnixMilli()))})
	}
	for _, h := range m.Headers {
		if strings.HasPrefix(h.Name, ours) {
			return nil, fmt.Errorf("kafka: message %q: header %q: names that begin with %q belong to rollcall; take it out of Headers", m.ID, h.Name, ours)
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	return r, nil
}

// timeHeader carries the Time of a message that is sent late: milliseconds since 1970,
// 8 bytes, big endian.
const timeHeader = "rollcall-time"

// wouldRemove says that the topic's retention may remove a message of that time before
// anybody reads it: Kafka counts from the time that the sender wrote into it, and a row
// can wait in an outbox for long. Such a message is sent with the time of sending.
func (t *topic) wouldRemove(at, now time.Time) bool {
	return t.retention > 0 && !at.IsZero() && now.Sub(at) > t.retention/4
}

// overhead is what Kafka adds to a message beyond its Size: lengths, the names of our
// headers, and the batch around it.
func overhead(m *rollcall.Message) int { return 200 + 10*len(m.Headers) }

// message is a record as rollcall knows it. A stamp that cannot be read stays among
// the headers: the engine sets such a message aside, it is never taken for one
// without a stamp. What has no stamp keeps all its headers; its id is the one that its
// sender's ecosystem gave it, if any.
func message(r *kgo.Record, t *slab.Strings) rollcall.Message {
	m := rollcall.Message{Destination: r.Topic, Partition: r.Partition, Key: t.Of(r.Key), Body: r.Value, Time: r.Timestamp}
	rest := r.Headers
	if stamp, others, ok := cut(rest, rollcall.StampHeader); ok {
		if s, err := rollcall.ParseStamp(stamp); err == nil {
			m.Stamp, rest = s, others
		}
	}
	if late, others, ok := cut(rest, timeHeader); ok && len(late) == 8 {
		m.Time, rest = time.UnixMilli(int64(binary.BigEndian.Uint64(late))), others
	}
	if !m.Stamp.IsZero() {
		if id, others, ok := cut(rest, rollcall.IDHeader); ok {
			m.ID, rest = rollcall.MessageID(t.Of(id)), others
		}
	}
	if len(rest) > 0 {
		m.Headers = make([]rollcall.Header, len(rest))
		for i, h := range rest {
			m.Headers[i] = rollcall.Header{Name: h.Key, Value: h.Value}
		}
	}
	if m.Stamp.IsZero() {
		m.ID = knownID(m)
	}
	return m
}

// knownID by value, so that the message above need not be on the heap.
func knownID(m rollcall.Message) rollcall.MessageID {
	id, _ := rollcall.KnownID(&m)
	return id
}

// cut takes out the header of a name, if there is just one: a repeated one is nobody's.
func cut(headers []kgo.RecordHeader, name string) (value []byte, rest []kgo.RecordHeader, ok bool) {
	i := index(headers, name)
	switch {
	case i < 0 || index(headers[i+1:], name) >= 0:
		return nil, headers, false
	case i == 0:
		return headers[0].Value, headers[1:], true
	}
	return headers[i].Value, slices.Concat(headers[:i], headers[i+1:]), true
}

func index(headers []kgo.RecordHeader, name string) int {
	return slices.IndexFunc(headers, func(h kgo.RecordHeader) bool { return h.Key == name })
}
