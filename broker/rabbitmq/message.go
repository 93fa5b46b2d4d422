package rabbitmq

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rollcall-mq/rollcall"
)

// offsetHeader is the broker's word on where in a stream a message lies.
const offsetHeader = "x-stream-offset"

// brokers are headers that the broker adds to what it delivers, and takes back.
var brokers = map[string]bool{offsetHeader: true, "x-delivery-count": true, "x-acquired-count": true}

// message is a delivery as rollcall knows it. A stamp that cannot be read stays among
// the headers: the engine sets such a message aside, it is never taken for one without
// a stamp. What has no stamp keeps all its headers; its id is the one that its sender's
// ecosystem gave it, if any.
func message(destination string, d *amqp.Delivery) rollcall.Message {
	m := rollcall.Message{Destination: destination, Body: d.Body, Time: d.Timestamp}
	used := make(map[string]bool, 5) // headers that have a place of their own
	if b, ok := d.Headers[rollcall.StampHeader]; ok {
		if s, err := rollcall.ParseStamp(raw(b)); err == nil {
			m.Stamp, used[rollcall.StampHeader] = s, true
		}
	}
	if b, ok := d.Headers[timeHeader]; ok && len(raw(b)) == 8 {
		m.Time, used[timeHeader] = time.UnixMilli(int64(binary.BigEndian.Uint64(raw(b)))), true
	}
	if b, ok := d.Headers[keyHeader]; ok {
		m.Key, used[keyHeader] = string(raw(b)), true
	}
	if b, ok := d.Headers[rollcall.IDHeader]; ok && !m.Stamp.IsZero() {
		m.ID, used[rollcall.IDHeader] = rollcall.MessageID(raw(b)), true
	}
	if b, ok := d.Headers[frontHeader]; ok && unpack(&m, raw(b)) {
		used[frontHeader] = true
	}
	m.Headers = append(m.Headers, headers(d.Headers, used)...)
	m.Headers = append(m.Headers, properties(d)...)
	if m.Stamp.IsZero() && m.ID == "" {
		id, ok := rollcall.KnownID(&m)
		if !ok && d.MessageId != "" {
			id = rollcall.MessageID(d.MessageId)
		}
		m.ID = id
	}
	return m
}

// headers of a table that have no place of their own: in the order of the list, if there
// is one, else by name.
func headers(t amqp.Table, used map[string]bool) []rollcall.Header {
	if len(t) == len(used) {
		return nil
	}
	var out []rollcall.Header
	if list, ok := t[listHeader]; ok {
		listed := make(map[string]bool)
		read, good := parseList(raw(list), func(name string) ([]byte, bool) {
			v, there := t[name]
			listed[name] = true
			return raw(v), there
		})
		if good {
			out, used[listHeader] = read, true
			for name := range listed {
				used[name] = true
			}
		}
	}
	var names []string
	for name := range t {
		if !used[name] && !brokers[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		out = append(out, rollcall.Header{Name: name, Value: raw(t[name])})
	}
	return out
}

// properties of AMQP that others set, as headers of their names.
func properties(d *amqp.Delivery) (out []rollcall.Header) {
	correlation := d.CorrelationId
	if strings.HasPrefix(correlation, tagPrefix) {
		correlation = "" // a tag of ours
	}
	for _, p := range [...]struct{ name, value string }{
		{"content-type", d.ContentType}, {"content-encoding", d.ContentEncoding}, {"correlation-id", correlation},
		{"reply-to", d.ReplyTo}, {"type", d.Type}, {"user-id", d.UserId}, {"app-id", d.AppId},
	} {
		if p.value != "" {
			out = append(out, rollcall.Header{Name: p.name, Value: []byte(p.value)})
		}
	}
	return out
}

// raw is a value of any type of AMQP as bytes: text as it is, numbers in decimal, times
// as RFC 3339, tables and arrays as JSON.
func raw(v any) []byte {
	switch v := v.(type) {
	case nil:
		return nil
	case []byte:
		return v
	case string:
		return []byte(v)
	case time.Time:
		return v.UTC().AppendFormat(nil, time.RFC3339)
	case float32:
		return strconv.AppendFloat(nil, float64(v), 'g', -1, 32)
	case float64:
		return strconv.AppendFloat(nil, v, 'g', -1, 64)
	case amqp.Table, []any:
		if b, err := json.Marshal(v); err == nil {
			return b
		}
	}
	return fmt.Append(nil, v)
}
