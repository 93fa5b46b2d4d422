package filelog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/slab"
)

// A record is one message: its checksum (4 bytes), the length of its payload
// (a varint), its payload. The checksum covers the place too (incarnation,
// partition, offset, time stored), so that a record found elsewhere is damage.

// newCastagnoli is looked up, not made: crc32 keeps that table itself.
func newCastagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// place is where a record lies.
type place struct {
	incarnation rollcall.Incarnation
	number      int32
	stored      int64 // Unix nanoseconds
}

// sum is the checksum of a payload at an offset.
func (p place) sum(offset int64, payload []byte) uint32 {
	var head [36]byte
	copy(head[:16], p.incarnation[:])
	binary.BigEndian.PutUint32(head[16:], uint32(p.number))
	binary.BigEndian.PutUint64(head[20:], uint64(p.stored))
	binary.BigEndian.PutUint64(head[28:], uint64(offset))
	table := newCastagnoli()
	return crc32.Update(crc32.Checksum(head[:], table), table, payload)
}

// appendPayload encodes a message; decodePayload reads it back. Every field
// but the last has its length before it, so no two messages look the same.
func appendPayload(dst []byte, m *rollcall.Message, sent time.Time) []byte {
	dst = binary.AppendVarint(dst, sent.Unix())
	dst = binary.AppendUvarint(dst, uint64(sent.Nanosecond()))
	dst = appendString(dst, string(m.ID))
	dst = appendString(dst, m.Key)
	var stamp []byte
	if !m.Stamp.IsZero() {
		stamp = rollcall.AppendStamp(make([]byte, 0, rollcall.MaxStampSize), m.Stamp)
	}
	dst = appendString(dst, string(stamp))
	dst = binary.AppendUvarint(dst, uint64(len(m.Headers)))
	for i := range m.Headers {
		dst = appendString(dst, m.Headers[i].Name)
		dst = binary.AppendUvarint(dst, uint64(len(m.Headers[i].Value)))
		dst = append(dst, m.Headers[i].Value...)
	}
	return append(dst, m.Body...)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// payloadRoom is how many bytes appendPayload takes at most.
func payloadRoom(m *rollcall.Message) int {
	n := 64 + rollcall.MaxStampSize + len(m.ID) + len(m.Key) + len(m.Body)
	for i := range m.Headers {
		n += 20 + len(m.Headers[i].Name) + len(m.Headers[i].Value)
	}
	return n
}

// messageBytes is the size that Config.MaxBytes limits.
func messageBytes(m *rollcall.Message) int {
	n := len(m.ID) + len(m.Key) + len(m.Body)
	for i := range m.Headers {
		n += len(m.Headers[i].Name) + len(m.Headers[i].Value)
	}
	return n
}

var errPayload = errors.New("the record's fields do not fit its length")

// reader walks over bytes; the first thing that does not fit makes it bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// take returns the next n bytes, closed at their end so that an append to them
// cannot reach what follows.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

// decodePayload reads a payload whose checksum held. Body and header values
// share its memory; other texts share that of texts.
func decodePayload(payload []byte, m *rollcall.Message, texts *slab.Strings) (err error) {
	// By value: one store into what the collector watches, not one for each field.
	*m, err = decoded(payload, texts)
	return err
}

func decoded(payload []byte, texts *slab.Strings) (m rollcall.Message, err error) {
	r := reader{b: payload}
	sec := r.varint()
	m.Time = time.Unix(sec, int64(r.uvarint())).UTC()
	m.ID = rollcall.MessageID(texts.Of(r.bytes()))
	m.Key = texts.Of(r.bytes())
	stamp := r.bytes()
	if n := r.uvarint(); n > uint64(len(r.b)) {
		r.bad = true
	} else if n > 0 {
		m.Headers = make([]rollcall.Header, n)
	}
	for i := range m.Headers {
		m.Headers[i] = rollcall.Header{Name: texts.Of(r.bytes()), Value: r.bytes()}
	}
	m.Body = r.take(uint64(len(r.b)))
	if r.bad {
		return m, errPayload
	}
	if len(stamp) == 0 {
		return m, nil
	}
	s, err := rollcall.ParseStamp(stamp)
	if err != nil {
		// A newer stamp than this version reads: it is handed on as the header
		// it is, so that nobody takes the message for an unstamped one.
		m.Headers = append(m.Headers, rollcall.Header{Name: rollcall.StampHeader, Value: stamp})
		return m, nil
	}
	m.Stamp = s
	return m, nil
}
