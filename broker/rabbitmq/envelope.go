package rabbitmq

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
)

const (
	// ours are the headers that belong to rollcall.
	ours = "rollcall-"
	// keyHeader carries the Key.
	keyHeader = "rollcall-key"
	// timeHeader carries the Time, where it has parts of a second, which AMQP's own
	// property has not: milliseconds since 1970, 8 bytes, big endian.
	timeHeader = "rollcall-time"
	// listHeader carries what a table of AMQP cannot: the order of headers, and repeats.
	listHeader = "rollcall-headers"
	// frontHeader says how many bytes of the body are no body: what no frame has room for,
	// 8 bytes, big endian.
	frontHeader = "rollcall-front"
	// tagPrefix begins the correlation ids of what we publish. The broker gives a message
	// back that no queue takes, and this says which it was.
	tagPrefix = "rollcall-"
)

// routing are headers by which the broker routes: as headers of ours they would send
// copies elsewhere, or close the channel. They travel in the list only.
var routing = map[string]bool{"CC": true, "BCC": true}

// envelope is a message as AMQP keeps it. An error means that it cannot be sent as it
// is: nothing was.
func envelope(m *rollcall.Message) (amqp.Publishing, error) {
	headers := make(amqp.Table, len(m.Headers)+4)
	if !m.Stamp.IsZero() {
		headers[rollcall.StampHeader] = rollcall.AppendStamp(make([]byte, 0, rollcall.MaxStampSize), m.Stamp)
	}
	p := amqp.Publishing{Headers: headers, DeliveryMode: amqp.Persistent, Body: m.Body}
	if m.ID != "" {
		headers[rollcall.IDHeader] = value([]byte(m.ID))
		if len(m.ID) <= maxName && utf8.ValidString(string(m.ID)) {
			p.MessageId = string(m.ID)
		}
	}
	if m.Key != "" {
		headers[keyHeader] = value([]byte(m.Key))
	}
	if !m.Time.IsZero() {
		p.Timestamp = m.Time
		if ms := m.Time.UnixMilli(); ms%1000 != 0 || ms < 0 {
			headers[timeHeader] = binary.BigEndian.AppendUint64(nil, uint64(ms))
		}
	}
	if err := addHeaders(headers, m); err != nil {
		return p, err
	}
	if tableSize(headers) > mostHeaders {
		large(&p, m)
	}
	return p, nil
}

// large puts what no frame has room for in front of the body: id, key, and the list of
// headers with all values.
func large(p *amqp.Publishing, m *rollcall.Message) {
	var front []byte
	put := func(b string, added uint64) {
		front = append(binary.AppendUvarint(front, uint64(len(b))+added), b...)
	}
	put(string(m.ID), 0)
	put(m.Key, 0)
	for _, h := range m.Headers {
		put(h.Name, 0)
		put(string(h.Value), 1)
	}
	table := amqp.Table{frontHeader: binary.BigEndian.AppendUint64(nil, uint64(len(front)))}
	for _, name := range []string{rollcall.StampHeader, timeHeader} {
		if v, ok := p.Headers[name]; ok {
			table[name] = v
		}
	}
	p.Headers, p.Body = table, append(front, m.Body...)
}

// unpack takes off what large put in front.
func unpack(m *rollcall.Message, length []byte) bool {
	if len(length) != 8 || binary.BigEndian.Uint64(length) > uint64(len(m.Body)) {
		return false
	}
	n := binary.BigEndian.Uint64(length)
	id, rest, ok := cutBytes(m.Body[:n], 0)
	if !ok {
		return false
	}
	key, rest, ok := cutBytes(rest, 0)
	if !ok {
		return false
	}
	headers, ok := parseList(rest, func(string) ([]byte, bool) { return nil, false })
	if ok {
		m.ID, m.Key, m.Headers, m.Body = rollcall.MessageID(id), string(key), headers, m.Body[n:]
	}
	return ok
}

// mostHeaders is what fits into one frame with everything else that goes there.
const mostHeaders = frameMax - 2048

// value as AMQP has it: text is text, for the sake of other consumers.
func value(b []byte) any {
	if utf8.Valid(b) {
		return string(b)
	}
	return b
}

// addHeaders to the table. Where their order or repeats matter, the list says so: for
// each header its name and either 0, its value is the table's, or the length of the
// value plus 1, and the value.
func addHeaders(table amqp.Table, m *rollcall.Message) error {
	var list []byte
	plain := true
	for _, h := range m.Headers {
		if strings.HasPrefix(h.Name, ours) {
			return fmt.Errorf("rabbitmq: message %q: header %q: names that begin with %q belong to rollcall; take it out of Headers", m.ID, h.Name, ours)
		}
		list = append(binary.AppendUvarint(list, uint64(len(h.Name))), h.Name...)
		if _, repeated := table[h.Name]; repeated || len(h.Name) > maxName || routing[h.Name] || strings.HasPrefix(h.Name, "x-") {
			plain = false
			list = append(binary.AppendUvarint(list, uint64(len(h.Value))+1), h.Value...)
			continue
		}
		table[h.Name] = value(h.Value)
		list = append(list, 0)
	}
	if len(m.Headers) > 1 || !plain {
		table[listHeader] = list
	}
	return nil
}

// tableSize is what a table takes in a frame, or a little more.
func tableSize(t amqp.Table) int {
	n := 4
	for name, v := range t {
		n += 1 + len(name) + 5
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		}
	}
	return n
}

// parseList is the headers of a list, with the values that the table has taken out of it.
func parseList(list []byte, take func(name string) ([]byte, bool)) ([]rollcall.Header, bool) {
	var out []rollcall.Header
	for len(list) > 0 {
		name, rest, ok := cutBytes(list, 0)
		if !ok {
			return nil, false
		}
		h := rollcall.Header{Name: string(name)}
		if len(rest) > 0 && rest[0] == 0 {
			list = rest[1:]
			h.Value, ok = take(h.Name)
		} else {
			h.Value, list, ok = cutBytes(rest, 1)
		}
		if !ok {
			return nil, false
		}
		out = append(out, h)
	}
	return out, true
}

// cutBytes takes off a length, written with so much added, and so many bytes.
func cutBytes(b []byte, added uint64) (value, rest []byte, ok bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n < added || n-added > uint64(len(b)-k) {
		return nil, nil, false
	}
	end := k + int(n-added)
	return b[k:end:end], b[end:], true
}
