// Package rabbitmq is the driver of RabbitMQ over AMQP 0-9-1, on amqp091-go.
//
//	cluster, err := rabbitmq.Open(ctx, []string{"127.0.0.1:5672"}, rabbitmq.Config{})
//	source, err := cluster.Source(ctx, "orders", rabbitmq.SourceConfig{})
//	publisher := rollcall.NewPublisher(cluster.Sender(), rollcall.PublisherConfig{})
//
// Destinations: "orders" is the queue orders, by the default exchange;
// "exchange:NAME:KEY" is an exchange with a routing key, and KEY may be empty and may
// hold colons. Each is one lane.
//
// Sending: persistent, mandatory, confirmed, always. A message that no queue takes is
// Refused, though the broker confirms it. What was in flight when a channel died is
// Unknown, unless the broker's reason proves more.
//
// Receiving has three shapes. A queue is shared by competing workers. A queue with a
// single active consumer is exclusive, without positions: it is ours from the first
// delivery of a channel until the channel closes. A stream is exclusive, with
// positions: whose it is, is a lease in the store, because the broker assigns nothing.
//
// Receipts are good for the channel that handed them over, and for one use: the broker
// would close the channel on another, and a redelivery has another receipt. The client
// library's own recovery is off: it would carry receipts over.
//
// Headers: rollcall-stamp and rollcall-id, see docs/stamp.md; the rest is in
// docs/rabbitmq.md.
package rabbitmq
