package guarantee

import "github.com/rollcall-mq/rollcall/effect"

// Broker is what a guarantee depends on in a broker.
type Broker struct {
	Name      string
	Now       bool // in this version; else it is designed and nothing is promised
	Exclusive bool // a partition has one owner; else workers compete
	Positions bool // partitions can be replayed from a position
	// Conditions are what the broker itself must be and do, for people.
	Conditions []string
}

// The brokers of the design.
var (
	Embedded = Broker{Name: "embedded", Now: true, Exclusive: true, Positions: true}
	Kafka    = Broker{Name: "kafka", Now: true, Exclusive: true, Positions: true, Conditions: []string{
		"the topic has min.insync.replicas 2 or more of at least 3 replicas, and no unclean leader election: run warns of one replica, and stops when a log was cut off",
		"the group's place is in the store: what is committed to Kafka is information for tools, and resetting offsets there changes nothing",
		"the topic is not compacted, or what compaction removes may be missed: that is not counted as missing",
		"all processes of the group have the same source.kafka.protocol",
	}}
	RabbitMQStream = Broker{Name: "rabbitmq stream", Now: true, Exclusive: true, Positions: true, Conditions: []string{
		"the owner of the stream is leased in the store: a process that is silent for source.rabbitmq.lease loses it to another, and its token is refused in the transaction",
		"AMQP tells no identity of a stream: run compares the last message done with what lies there now, and stops when it is another one, or gone",
		"the stream has three replicas in a cluster of three nodes or more",
	}}
	RabbitMQQueue = Broker{Name: "rabbitmq queue", Now: true, Conditions: []string{
		noFence("RabbitMQ"),
		"processes compete for the messages: the order of a Key is kept only with single_active, or mode: version or transition",
		neverGivesUp,
		"the numbers of a sender are by exchange and routing key: behind bindings that leave out some messages of one key, nothing can be audited",
	}}
	RabbitMQSingle = Broker{Name: "rabbitmq single", Now: true, Conditions: []string{
		noFence("RabbitMQ"),
		"the queue is made with x-single-active-consumer (declare does, or compares): the order of a Key is kept while one process lives; the next one may begin while the last one " +
			"still works on what it was given, and no message takes effect twice then",
		neverGivesUp,
	}}
	RocketMQ = Broker{Name: "rocketmq", Now: true, Conditions: []string{
		noFence("RocketMQ"),
		"processes compete for the messages: the order of a Key is kept only in a topic of type FIFO with an orderly group (fifo: true), or with mode: version or transition",
		"retryMaxTimes of the group is high: what reaches it is the server's own dead letter (%DLQ%), and attempts are counted in the store without it",
		"the server keeps messages longer (fileReservedTime, 72h) than no run is at work: what it removes before is named by nobody",
		"what source.rocketmq.filter leaves out is missing by design: behind a filter nothing can be audited",
	}}
)

// Brokers are all of them, those of this version first.
func Brokers() []Broker {
	return []Broker{Embedded, Kafka, RabbitMQStream, RabbitMQQueue, RabbitMQSingle, RocketMQ}
}

// Of a broker that takes acknowledgements of anybody.
func noFence(broker string) string {
	return broker + " fences nobody and may take a late acknowledgement: the locked records in the transaction of the effect decide, never the broker"
}

const neverGivesUp = "the queue is durable, with no message TTL, no drop-head, and a delivery limit, if there is one, that dead-letters at least once into a queue that somebody reads: " +
	"attempts are counted in the store; 4.0 has a limit of 20 where none is said (declare says none)"

// Queue: messages have no place, and are gone when they are acknowledged.
func (b Broker) Queue() bool { return !b.Positions }

// Shape is the broker's name in verify/model.
func (b Broker) Shape() string {
	switch {
	case b.Positions:
		return "X"
	case b.Exclusive:
		return "XQ"
	}
	return "S"
}

// Store is what a guarantee depends on in a store.
type Store struct {
	Name       string
	Now        bool // in this version
	ClaimsOnly bool // no transaction that an effect could share
	// Deadlines: the server itself ends the transaction of a client that stopped.
	Deadlines bool
	// Conditions are what the store itself must be and do, for people.
	Conditions []string
}

// The stores of the design.
var (
	SQLite   = Store{Name: "sqlite", Now: true}
	Postgres = Store{Name: "postgres", Now: true, Deadlines: true, Conditions: []string{
		"the server is PostgreSQL 14 or newer (15 and 18 are tested), a primary, with fsync, full_page_writes and synchronous_commit on: run refuses others",
		"the connection goes to the server, or to a pool in session mode: the deadlines are settings of the session",
		failover,
	}}
	MySQL = Store{Name: "mysql", Now: true, Deadlines: true, Conditions: []string{
		"the server is MySQL 8.0 or MariaDB 10.6 or newer (8.0 and 10.11 are tested), with one primary, innodb_flush_log_at_trx_commit 1, sync_binlog 1 if it " +
			"has a binlog, and that not of STATEMENT format: run refuses others",
		"tables of effects are InnoDB (run refuses others), and so is what their triggers write: in other engines nothing is undone",
		failover,
	}}
	Redis = Store{Name: "redis", ClaimsOnly: true}
)

const failover = "a failover goes to a standby that has every commit: one that lags is a store restored, below"

// Stores are all of them, those of this version first.
func Stores() []Store { return []Store{SQLite, Postgres, MySQL, Redis} }

// Modes are the modes of effect.Table, as in its documentation.
func Modes() []effect.Mode {
	return []effect.Mode{effect.Insert, effect.Upsert, effect.Versioned, effect.Transition, effect.Set, effect.Delete, effect.Add}
}
