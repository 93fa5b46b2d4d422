package rocketmq

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcall-mq/rollcall"
)

const (
	// ours are the properties that belong to rollcall.
	ours          = "rollcall-"
	keyProperty   = ours + "key"
	timeProperty  = ours + "time"  // milliseconds since 1970, as decimal text
	emptyProperty = ours + "empty" // the body is empty: the server takes none that is

	// TagHeader is the header that is a message's tag.
	TagHeader = "rocketmq-tag"
	// KeysHeader is the header in which the keys of a message without a stamp are given,
	// with spaces between them.
	KeysHeader = "rocketmq-keys"
)

// outgoing is a message as RocketMQ takes it. An error means that it cannot be sent as it
// is: nothing was.
func (c *Cluster) outgoing(topic string, m *rollcall.Message, kind v2.MessageType) (*v2.Message, error) {
	properties := make(map[string]string, len(m.Headers)+4)
	system := &v2.SystemProperties{MessageId: wireID(m), MessageType: kind, BodyEncoding: v2.Encoding_IDENTITY,
		BornTimestamp: timestamppb.New(c.config.Now())} // not m.Time: of an old transactional message the server never asks
	var headers []rollcall.Header
	for _, h := range m.Headers {
		if strings.HasPrefix(h.Name, ours) {
			return nil, fmt.Errorf("rocketmq: message %q: header %q: names that begin with %q belong to rollcall; take it out of Headers", m.ID, h.Name, ours)
		}
		if tag := string(h.Value); h.Name == TagHeader && system.Tag == nil && plain(tag) && !strings.ContainsAny(tag, "| ") {
			system.Tag = &tag
			continue
		}
		headers = append(headers, h)
	}
	putHeaders(properties, headers)
	if !m.Stamp.IsZero() {
		stamp := rollcall.AppendStamp(make([]byte, 0, rollcall.MaxStampSize), m.Stamp)
		properties[rollcall.StampHeader] = base64.RawURLEncoding.EncodeToString(stamp)
	}
	if m.ID != "" {
		properties[rollcall.IDHeader] = text(string(m.ID))
		system.Keys = []string{wireID(m)}
	}
	if m.Key != "" {
		properties[keyProperty] = text(m.Key)
	}
	if !m.Time.IsZero() {
		properties[timeProperty] = strconv.FormatInt(m.Time.UnixMilli(), 10)
	}
	out := &v2.Message{Topic: c.resource(topic), UserProperties: properties, SystemProperties: system, Body: m.Body}
	if len(m.Body) == 0 {
		properties[emptyProperty], out.Body = "1", []byte{0}
	}
	if kind == v2.MessageType_FIFO {
		group := messageGroup(m)
		system.MessageGroup = &group
	}
	spill(out)
	return out, c.fits(topic, m, out)
}

// fits refuses what the server would: the whole batch would be refused with it.
func (c *Cluster) fits(topic string, m *rollcall.Message, w *v2.Message) error {
	most := c.config.MaxBytes
	if size := m.Size(); size > most {
		return fmt.Errorf("%w: message %.64q takes %d bytes with its headers, topic %q takes %d (maxMessageSize, Config.MaxBytes)", rollcall.ErrTooLarge, m.ID, size, topic, most)
	}
	if size := len(w.Body); size > most+propertyBytes {
		return fmt.Errorf("%w: message %.64q takes %d bytes, since its id, key and headers are written as text; topic %q takes %d (maxMessageSize, Config.MaxBytes)", rollcall.ErrTooLarge, m.ID, size, topic, most)
	}
	return nil
}

// wireID is the message's id for RocketMQ's own tools: the same however often it is sent.
func wireID(m *rollcall.Message) string {
	id := string(m.ID)
	if plain(id) && len(id) <= 64 && !strings.ContainsAny(id, " ,") {
		return id
	}
	h := sha256.New()
	h.Write([]byte(id))
	h.Write(rollcall.AppendStamp(nil, m.Stamp))
	if id == "" && m.Stamp.IsZero() {
		h.Write([]byte(clientID())) // nobody's twice
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// messageGroup is the order scope on FIFO topics: the Key, of which there is one group
// each; without a Key, nobody's.
func messageGroup(m *rollcall.Message) string {
	switch {
	case m.Key == "":
		return wireID(m)
	case plain(m.Key) && len(m.Key) <= 60 && !strings.HasPrefix(m.Key, coded) && strings.TrimSpace(m.Key) == m.Key:
		return m.Key
	}
	sum := sha256.Sum256([]byte(m.Key))
	return coded + hex.EncodeToString(sum[:16])
}

// incoming is a message as rollcall knows it. A stamp that cannot be read stays among the
// headers: the engine sets such a message aside, it is never taken for one without. So it
// does with one whose body is damaged.
func (s *Source) incoming(w *v2.Message) rollcall.Message {
	properties := make(map[string]string, len(w.GetUserProperties())+1)
	maps.Copy(properties, w.GetUserProperties())
	body, damage := bodyOf(w)
	m := rollcall.Message{Destination: s.topic, Body: unspill(properties, body), Time: timeOf(w, properties)}
	if damage != nil {
		properties[rollcall.StampHeader] = damage.Error() // no base64: no stamp
	}
	if _, empty := properties[emptyProperty]; empty {
		m.Body = nil
	}
	takeStamp(&m, properties)
	if key, has := properties[keyProperty]; has {
		m.Key = bytesOf(key)
	} else if m.Stamp.IsZero() {
		m.Key = w.GetSystemProperties().GetMessageGroup() // of other clients
	}
	for _, name := range []string{emptyProperty, keyProperty, timeProperty} {
		delete(properties, name)
	}
	if !m.Stamp.IsZero() {
		if id, has := properties[rollcall.IDHeader]; has {
			m.ID = rollcall.MessageID(bytesOf(id))
			delete(properties, rollcall.IDHeader)
		}
	}
	s.headers(&m, w, properties)
	if m.Stamp.IsZero() {
		m.ID = s.knownID(&m, w)
	}
	return m
}

// takeStamp reads the stamp. One that is no stamp becomes a header, as bytes.
func takeStamp(m *rollcall.Message, properties map[string]string) {
	written, has := properties[rollcall.StampHeader]
	if !has {
		return
	}
	delete(properties, rollcall.StampHeader)
	raw, err := base64.RawURLEncoding.DecodeString(written)
	if err != nil {
		raw = []byte(written)
	} else if stamp, err := rollcall.ParseStamp(raw); err == nil {
		m.Stamp = stamp
		return
	}
	m.Headers = append(m.Headers, rollcall.Header{Name: rollcall.StampHeader, Value: raw})
}

// headers adds those that were sent, then properties of others, by name.
func (s *Source) headers(m *rollcall.Message, w *v2.Message, properties map[string]string) {
	listed := takeHeaders(properties)
	if !m.Stamp.IsZero() && len(listed) > 0 && slices.ContainsFunc(listed, func(h rollcall.Header) bool { return h.Name == rollcall.StampHeader }) {
		m.Stamp = rollcall.Stamp{} // two stamps are none that can be read
	}
	m.Headers = append(m.Headers, listed...)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		m.Headers = append(m.Headers, rollcall.Header{Name: name, Value: []byte(properties[name])})
	}
	system := w.GetSystemProperties()
	if system.Tag != nil {
		m.Headers = append(m.Headers, rollcall.Header{Name: TagHeader, Value: []byte(system.GetTag())})
	}
	if keys := system.GetKeys(); m.Stamp.IsZero() && len(keys) > 0 {
		m.Headers = append(m.Headers, rollcall.Header{Name: KeysHeader, Value: []byte(strings.Join(keys, " "))})
	}
}

// knownID is the id of a message without a stamp: what its sender's ecosystem gave it, the
// keys if they are said to be ids, else what its client gave it, which repeats of the
// client and of the server keep.
func (s *Source) knownID(m *rollcall.Message, w *v2.Message) rollcall.MessageID {
	if id, has := rollcall.KnownID(m); has {
		return rollcall.MessageID(bytesOf(string(id)))
	}
	if keys := w.GetSystemProperties().GetKeys(); s.config.KeysAreIDs && len(keys) > 0 {
		return rollcall.MessageID(strings.Join(keys, " "))
	}
	return rollcall.MessageID(w.GetSystemProperties().GetMessageId())
}

// timeOf is when the message was handed over, to the millisecond.
func timeOf(w *v2.Message, properties map[string]string) time.Time {
	if ms, err := strconv.ParseInt(properties[timeProperty], 10, 64); err == nil {
		return time.UnixMilli(ms)
	}
	if born := w.GetSystemProperties().GetBornTimestamp(); born.IsValid() {
		return born.AsTime()
	}
	return time.Time{}
}
