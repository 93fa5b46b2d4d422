package kafka

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kgo"
)

// IDHeader carries the MessageID.
const IDHeader = "rollcall-id"

// ours are the headers that belong to rollcall.
const ours = "rollcall-"

// record is a message as Kafka keeps it: the stamp and the id are headers, all else
// has its place. An error means that it cannot be sent as it is: nothing was.
func record(name string, m *rollcall.Message) (*kgo.Record, error) {
	r := &kgo.Record{Topic: name, Partition: m.Partition, Value: m.Body, Timestamp: m.Time}
	if m.Key != "" {
		r.Key = []byte(m.Key)
	}
	r.Headers = make([]kgo.RecordHeader, 0, len(m.Headers)+2)
	if !m.Stamp.IsZero() {
		stamp := rollcall.AppendStamp(make([]byte, 0, rollcall.MaxStampSize), m.Stamp)
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: rollcall.StampHeader, Value: stamp})
	}
	if m.ID != "" {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: IDHeader, Value: []byte(m.ID)})
	}
	for _, h := range m.Headers {
		if strings.HasPrefix(h.Name, ours) {
			return nil, fmt.Errorf("kafka: message %q: header %q: names that begin with %q belong to rollcall; take it out of Headers", m.ID, h.Name, ours)
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	return r, nil
}

// overhead is what Kafka adds to a message beyond its Size: lengths, the names of our
// headers, and the batch around it.
func overhead(m *rollcall.Message) int { return 200 + 10*len(m.Headers) }

// message is a record as rollcall knows it. A stamp that cannot be read stays among
// the headers: the engine sets such a message aside, it is never taken for one
// without a stamp.
func message(r *kgo.Record) rollcall.Message {
	m := rollcall.Message{Destination: r.Topic, Partition: r.Partition, Key: string(r.Key), Body: r.Value, Time: stamped(r)}
	rest := r.Headers
	if len(rest) > 0 && rest[0].Key == rollcall.StampHeader { // where we put it
		if s, err := rollcall.ParseStamp(rest[0].Value); err == nil && !names(rest[1:], rollcall.StampHeader) {
			m.Stamp, rest = s, rest[1:]
		}
	} else if i := index(rest, rollcall.StampHeader); i >= 0 { // where a bridge or another language put it
		if s, err := rollcall.ParseStamp(rest[i].Value); err == nil && !names(rest[i+1:], rollcall.StampHeader) {
			m.Stamp, rest = s, slices.Concat(rest[:i], rest[i+1:])
		}
	}
	if i := index(rest, IDHeader); i >= 0 && !names(rest[i+1:], IDHeader) {
		m.ID = rollcall.MessageID(rest[i].Value)
		if i == 0 {
			rest = rest[1:]
		} else {
			rest = slices.Concat(rest[:i], rest[i+1:])
		}
	}
	if len(rest) > 0 {
		m.Headers = make([]rollcall.Header, len(rest))
		for i, h := range rest {
			m.Headers[i] = rollcall.Header{Name: h.Key, Value: h.Value}
		}
	}
	return m
}

func stamped(r *kgo.Record) time.Time { return r.Timestamp }

func index(headers []kgo.RecordHeader, name string) int {
	return slices.IndexFunc(headers, func(h kgo.RecordHeader) bool { return h.Key == name })
}

func names(headers []kgo.RecordHeader, name string) bool { return index(headers, name) >= 0 }
