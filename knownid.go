package rollcall

import "github.com/rollcall-mq/rollcall/internal/uid"

// IDHeader carries the MessageID where a broker has no place of its own for it.
const IDHeader = "rollcall-id"

// KnownID is the id that the sender's ecosystem gave a message, by the headers that
// are in use, the first that is there:
//
//   - rollcall-id, of senders that number nothing (docs/stamp.md)
//   - Idempotency-Key (the IETF's draft of that name)
//   - ce_source and ce_id: CloudEvents, Kafka protocol binding; both together are
//     unique, one without the other is not and does not count
//   - id, if it is a UUID: Debezium's outbox event router
//
// In a message without a stamp it counts as the application's own: without any
// configuration a message that is sent twice takes effect once. An empty one does not
// count, and one that is there twice with different values is none.
func KnownID(m *Message) (MessageID, bool) {
	for _, name := range []string{IDHeader, "Idempotency-Key"} {
		if v, ok := single(m, name); ok {
			return MessageID(v), true
		}
	}
	if id, ok := single(m, "ce_id"); ok {
		source, also := single(m, "ce_source")
		if !also {
			return "", false
		}
		return MessageID(source + " " + id), true // a URI has no space
	}
	if id, ok := single(m, "id"); ok && uid.Is(id) {
		return MessageID(id), true
	}
	return "", false
}

// single is the value of a header that is there, is not empty, and has one value.
func single(m *Message, name string) (value string, ok bool) {
	for i := range m.Headers {
		if h := &m.Headers[i]; h.Name == name {
			if len(h.Value) == 0 || ok && string(h.Value) != value {
				return "", false
			}
			value, ok = string(h.Value), true
		}
	}
	return value, ok
}
