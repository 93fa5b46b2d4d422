package rollcall

import "time"

// MessageID is the identity of a message: fixed before the first send, kept by
// retries and redrives, compared as raw bytes. It may hold any bytes.
type MessageID string

// Header is one name and value beside the body. Headers keep their order and
// may repeat; names that start with "rollcall-" belong to rollcall.
type Header struct {
	Name  string
	Value []byte
}

// Message is the unit sent. The zero value of every field is usable; only Body
// usually matters to the sender.
type Message struct {
	// ID is the identity. Empty when sending: the Publisher mints one, and the
	// stamp says that it is not the application's own. Default: minted.
	ID MessageID
	// Destination is the topic, queue or exchange. When sending it is given to
	// Publish; on a delivery it says where the message was read.
	Destination string
	// Partition is where in the destination the message lies. The Publisher
	// sets it from Lanes before it stamps; on a delivery it is where it was read.
	Partition int32
	// Key is the order scope: messages of one key take effect in order. An
	// empty Key has no order and never waits. Default: empty.
	Key string
	// Headers travel with the message. Default: none.
	Headers []Header
	// Body is the payload; rollcall never changes it.
	Body []byte
	// Time is when the sender handed the message over. Default: now.
	Time time.Time
	// Stamp is the sender's numbering, set by the Publisher or the Relay
	// before the first send. The zero Stamp means "not stamped".
	Stamp Stamp
}

// Header returns the value of the first header of that name.
func (m *Message) Header(name string) ([]byte, bool) {
	for i := range m.Headers {
		if m.Headers[i].Name == name {
			return m.Headers[i].Value, true
		}
	}
	return nil, false
}

// Partition is what a consumer is given: a Kafka partition, a RabbitMQ queue
// or stream, a RocketMQ topic in a group, a partition of the embedded log.
type Partition struct {
	Destination string
	Number      int32 // 0 where the broker has no numbered parts
}

// Incarnation tells one life of a destination from the next: a destination
// deleted and created again has another one, and its offsets mean nothing to
// the first. The zero Incarnation means that the partition has no positions.
type Incarnation [16]byte

// Position is a place in a replayable partition. The zero Position means
// "none": on a delivery that the broker has no positions, as a start that the
// earliest message is meant.
type Position struct {
	Incarnation Incarnation
	Offset      int64 // the first offset of a partition is 0
	// LeaderEpoch is the broker's, and 1: so that 0 means that it has none, or that
	// it is not known.
	LeaderEpoch int32
}

// Number is the position as a number of a Roll, which count from 1.
func (p Position) Number() uint64 { return uint64(p.Offset) + 1 }

// IsZero reports whether there is no position.
func (p Position) IsZero() bool { return p.Incarnation == Incarnation{} }

// Receipt is the handle that finishes one Delivery. It is good only for the
// session that handed the message over; a driver refuses older ones itself.
type Receipt struct {
	Session uint64 // generation of the channel, connection or assignment
	Number  uint64 // delivery tag, or offset
	Handle  string // receipt handle where the broker gives one
}

// Delivery is one handing-over of a message.
type Delivery struct {
	Message
	// Position is the place in the partition; zero where the broker has none.
	Position Position
	// Receipt finishes this delivery.
	Receipt Receipt
	// Redelivered is the broker's word that it handed this message over
	// before. It does not mean that a handler ever saw it.
	Redelivered bool
}

// Size is how many bytes of the message a broker's limit counts: id, key,
// headers and body.
func (m *Message) Size() int {
	n := len(m.ID) + len(m.Key) + len(m.Body)
	for i := range m.Headers {
		n += len(m.Headers[i].Name) + len(m.Headers[i].Value)
	}
	return n
}
