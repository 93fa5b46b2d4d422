// Package rocketmq is the driver of Apache RocketMQ 5, on the stubs of its gRPC
// protocol. The client above those stubs is not used: it reports acknowledgements that
// failed as done.
//
//	cluster, err := rocketmq.Open(ctx, []string{"127.0.0.1:8081"}, rocketmq.Config{Plaintext: true})
//	source, err := cluster.Source(ctx, "orders", rocketmq.SourceConfig{})
//	publisher := rollcall.NewPublisher(cluster.Sender(), rollcall.PublisherConfig{})
//
// What "once" means here. Workers of a group compete for the messages of a topic: the
// server hands each out for a while, and again when it was not acknowledged in time. It
// says of no message where it lies, and its count of attempts is wrong at times, so
// nothing is decided by either: a repeat is known by its stamp or its key, in the store.
//
// Sending: a batch goes to one queue and has one fate. Where an answer says that a disk
// or a replica was late, the message is stored nearly always: that is Unknown, and so is
// every call that broke. Messages of a FIFO topic are sent one by one, those of one Key
// one after the other.
//
// Receiving: what was handed over and is not settled yet is kept from coming again, up
// to SourceConfig.MaxHold, as long as this process lives. A receipt is used once.
//
// Properties of a message are text here: rollcall-stamp and the others are written as
// docs/stamp.md says.
package rocketmq
