// Package kafka is the driver of Apache Kafka, on franz-go.
//
//	cluster, err := kafka.Open(ctx, []string{"127.0.0.1:9092"}, kafka.Config{})
//	source, err := cluster.Source(ctx, "orders", kafka.SourceConfig{})
//	publisher := rollcall.NewPublisher(cluster.Sender(), rollcall.PublisherConfig{})
//
// What "once" means here. A group's place is what its store holds, committed with
// the effect: offsets are committed to Kafka too, but for tools only, and nothing
// starts from them. So a group that was deleted, and one whose offsets ran out,
// goes on where it was. A partition of which the store knows nothing is read from
// its earliest message. Members of a group are fenced by the store's token, not by
// Kafka's generation, which lets a member that is alive commit a partition it has
// lost.
//
// What is never done silently: a start at another place. When retention, a
// truncated log, or a topic that was deleted and made again has taken messages
// from under the group, Fetch fails with ErrDamaged, names the offsets, the leader
// epochs or both topic ids, and the run ends. See [SourceConfig].
//
// Sending: acks of all replicas in sync, idempotent, no limit of retries within the
// caller's time. The partition is chosen as the Java client chooses it, then the
// message is stamped, then sent to that partition.
//
// Only committed transactions are read. [Source.Transformer] consumes and produces in
// one transaction of Kafka; what it promises ends at Kafka's edge. [Source.Consume] is
// for who has no store: at least once, in the commit modes that people know.
//
// Headers: rollcall-stamp and rollcall-id, see docs/stamp.md.
package kafka
