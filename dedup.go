package rollcall

// DedupKey is what makes two messages the same piece of business: 16 bytes of
// SHA-256 over format version, group and canonical key; compared binary.
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
}
