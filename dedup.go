package rollcall

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/rollcall-mq/rollcall/internal/canonical"
	"github.com/rollcall-mq/rollcall/internal/jsonpath"
)

// DedupKey is what makes two messages the same piece of business: 16 bytes of
// SHA-256 over format version, group and canonical key; compared binary. Where a
// part of the key is a UUID version 7 its time comes first, and 10 bytes of the
// hash follow, so that an index of the keys grows at one end (ADR 0010).
type DedupKey [16]byte

// Identity tells one message from another, whatever they mean: 16 bytes of
// SHA-256 over its stamp, else its position, else its id and body. A
// redelivery has the same identity, the application sending twice has not.
type Identity [16]byte

// Counts are what became of messages of one (group, destination), counted in
// the transaction that decided it.
type Counts struct {
	Applied   int64 // took effect
	Repeated  int64 // another message with the same DedupKey took effect, or will
	Stale     int64 // older version or earlier state, handled on purpose
	Filtered  int64 // not for this consumer, handled on purpose
	Discarded int64 // thrown away by an operator
	Copies    int64 // further stored copies of a message counted already
	Void      int64 // offsets that carry no message: transaction markers, aborted, compacted
	Lost      int64 // offsets that were removed before they were done, and accepted as lost
}

// keyFormat is hashed into every DedupKey, so that a later format can be told
// apart and both be looked up during a rolling upgrade.
const keyFormat = 1

// identify computes the Identity of a message.
func identify(m *Message, p Position) Identity {
	h := sha256.New()
	switch {
	case !m.Stamp.IsZero():
		h.Write([]byte{'s'})
		h.Write(m.Stamp.Life[:])
		var b [20]byte
		binary.BigEndian.PutUint64(b[0:], m.Stamp.Origin)
		binary.BigEndian.PutUint32(b[8:], m.Stamp.Lane)
		binary.BigEndian.PutUint64(b[12:], m.Stamp.Sequence)
		h.Write(b[:])
	case !p.IsZero():
		h.Write([]byte{'p'})
		h.Write(p.Incarnation[:])
		var b [12]byte
		binary.BigEndian.PutUint32(b[0:], uint32(m.Partition))
		binary.BigEndian.PutUint64(b[4:], uint64(p.Offset))
		h.Write(b[:])
		writeField(h, m.Destination)
	default:
		// A corrected resend under the same id is another message.
		h.Write([]byte{'m'})
		writeField(h, m.Destination)
		writeField(h, string(m.ID))
		h.Write(m.Body)
	}
	var id Identity
	copy(id[:], h.Sum(nil))
	return id
}

// writeField writes length and bytes, so that no two lists of fields hash alike.
func writeField(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

// keyPart is one part of a DedupKey: it yields a tagged canonical text, or
// false when the message has none.
type keyPart func(m *Message) (string, bool)

// keyer computes DedupKeys of one group.
type keyer struct {
	group string
	names []string
	parts []keyPart
}

func newKeyer(group string, names []string) (*keyer, error) {
	k := &keyer{group: group, names: names}
	for i, name := range names {
		part, err := newKeyPart(name)
		if err != nil {
			return nil, configError(fmt.Sprintf("dedup.key[%d]", i), fmt.Sprintf("%q", name), err.Error())
		}
		k.parts = append(k.parts, part)
	}
	return k, nil
}

func newKeyPart(name string) (keyPart, error) {
	switch {
	case name == "id":
		return func(m *Message) (string, bool) { return string(m.ID), m.ID != "" }, nil
	case name == "key":
		return func(m *Message) (string, bool) { return m.Key, m.Key != "" }, nil
	case name == "content":
		return func(m *Message) (string, bool) { return canonical.Content(m.Body), len(m.Body) > 0 }, nil
	case strings.HasPrefix(name, "header.") && len(name) > len("header."):
		header := strings.TrimPrefix(name, "header.")
		return func(m *Message) (string, bool) {
			v, ok := m.Header(header)
			return string(v), ok && len(v) > 0
		}, nil
	case strings.HasPrefix(name, "payload."):
		path, err := jsonpath.Compile(strings.TrimPrefix(name, "payload."))
		if err != nil {
			return nil, err
		}
		return func(m *Message) (string, bool) {
			v, ok, err := path.Get(m.Body)
			if err != nil || !ok || v.Kind == jsonpath.Null || v.Text == "" {
				return "", false
			}
			// The kind is part of the key: "1" and 1 are two things.
			return v.Kind.String() + ":" + v.Text, true
		}, nil
	}
	return nil, errors.New(`use "id", "key", "content", "header.NAME" or "payload.PATH"`)
}

// key computes the DedupKey. When a part is missing or empty it names the part:
// such a message has no key, it is never equal to another one.
func (k *keyer) key(m *Message) (key DedupKey, missing string) {
	h := sha256.New()
	h.Write([]byte{keyFormat})
	writeField(h, k.group)
	var at [6]byte
	ordered := false
	for i, part := range k.parts {
		text, ok := part(m)
		if !ok {
			return DedupKey{}, k.names[i]
		}
		writeField(h, text)
		if !ordered {
			at, ordered = timeOf(text)
		}
	}
	sum := h.Sum(nil)
	if ordered {
		copy(key[copy(key[:], at[:]):], sum)
	} else {
		copy(key[:], sum)
	}
	return key, ""
}

// KeyFunc compiles what a DedupKey is made of, as DedupConfig.Key says it. The
// function returns false for a message in which a part is missing or empty. The
// error is ErrConfig and names the part.
func KeyFunc(group string, names ...string) (func(*Message) (DedupKey, bool), error) {
	k, err := newKeyer(group, names)
	if err != nil {
		return nil, err
	}
	return func(m *Message) (DedupKey, bool) {
		key, missing := k.key(m)
		return key, missing == ""
	}, nil
}

// timeOf is the time in a UUID version 7 as its 6 bytes (RFC 9562 §5.7).
func timeOf(text string) (at [6]byte, is bool) {
	text = strings.TrimPrefix(text, jsonpath.String.String()+":")
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[14] != '7' {
		return at, false
	}
	_, err := hex.Decode(at[:], []byte(text[:8]+text[9:13]))
	return at, err == nil
}

// recorder decides which records a message leaves.
type recorder struct {
	stamp, position, key, none bool

	auto       bool
	configured *keyer // the DedupKey of dedup.key
	byID       *keyer // the application's own MessageID as DedupKey
}

func newRecorder(group string, c DedupConfig, can Capabilities) (*recorder, error) {
	r := &recorder{}
	for i, s := range c.By {
		field := fmt.Sprintf("dedup.by[%d]", i)
		switch s {
		case ByAuto:
			r.auto, r.stamp, r.position = true, true, can.Positions
		case ByStamp:
			r.stamp = true
		case ByPosition:
			if !can.Positions {
				return nil, configError(field, s, can.Broker+" has no positions; use stamp, key or auto")
			}
			r.position = true
		case ByKey:
			r.key = true
		case ByNone:
			r.none = true
		default:
			return nil, configError(field, fmt.Sprintf("%q", s), "use auto, stamp, position, key or none")
		}
	}
	if r.none && len(c.By) > 1 {
		return nil, configError("dedup.by", c.By, "none stands alone")
	}
	names := c.Key
	if len(names) == 0 && r.key {
		names = []string{"id"}
	}
	var err error
	if r.configured, err = newKeyer(group, names); err != nil {
		return nil, err
	}
	if len(c.Key) > 0 && !r.auto && !r.key {
		return nil, configError("dedup.key", c.Key, "dedup.by does not use it; add key, or use auto")
	}
	r.byID, err = newKeyer(group, []string{"id"})
	return r, err
}

// dedupKey is the key that the message claims, if any. missing names the part
// that a configured key lacks: the message must not run without its protection.
func (r *recorder) dedupKey(m *Message) (key DedupKey, has bool, missing string) {
	switch {
	case len(r.configured.parts) > 0:
		key, missing = r.configured.key(m)
	case r.auto && ownID(m):
		key, missing = r.byID.key(m)
	default:
		return DedupKey{}, false, ""
	}
	return key, missing == "", missing
}

// ownID reports whether the MessageID is the application's own.
func ownID(m *Message) bool {
	if !m.Stamp.IsZero() {
		return m.Stamp.OwnID
	}
	return m.ID != "" // a header that is in use for it, or the broker's own place
}
