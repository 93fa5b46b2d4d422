package rollcall

import "time"

// Capabilities says, as plain data, what a broker driver can do. The engine
// plans by it, doctor prints it, and the conformance kit demands what it says
// and tests the substitute for what it does not.
type Capabilities struct {
	// Broker is the driver's name, and Version the server's as asked from it.
	Broker, Version string
	// Exclusive: a partition has one owner at a time (Owner is called). Else
	// partitions are shared by competing workers.
	Exclusive bool
	// Positions: partitions can be replayed from a Position, and every
	// delivery carries one. Only with Exclusive.
	Positions bool
	// SettleConfirmed: a nil error of Settle is the broker's word. Else it
	// only means "written" (AMQP 0-9-1 has no answer to an ack).
	SettleConfirmed bool
	// SettleOne: one message can be settled without those before it.
	SettleOne bool
	// DelayRetry: the broker can bring a message again after a given time.
	DelayRetry bool
	// Ordered: messages of one partition are delivered in the order stored.
	Ordered bool
	// MaxBytes is the most bytes of a message (id, key, headers and body)
	// that the broker takes. 0: no limit known.
	MaxBytes int
	// MaxBatch is the most messages of one Publish call. 0: no limit.
	MaxBatch int
	// MaxHold is how long a delivery may stay unsettled. 0: for ever.
	MaxHold time.Duration
	// Late is how late the broker can bring a message again, as far as the
	// broker knows (its retention). 0: not known, it must be configured.
	Late time.Duration
}
