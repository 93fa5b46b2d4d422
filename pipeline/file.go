package pipeline

import (
	"path/filepath"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// File is a pipeline file.
type File struct {
	// Name is the consumer group and the scope of all records. Required.
	Name string `yaml:"name,required"`
	// Source says where messages come from. Required.
	Source Source `yaml:"source,required"`
	// Store says where "done" is recorded, beside the effect. Required.
	Store Store `yaml:"store,required"`
	// Dedup says how a repeat is recognised. Default: auto.
	Dedup Dedup `yaml:"dedup"`
	// Effect is one effect or a list; a list runs in one transaction, all or
	// none. Required by run.
	Effect []Effect `yaml:"effect,required"`
	// Retry says what happens to a message whose effect fails.
	Retry Retry `yaml:"retry"`
	// Batch is the most messages of one transaction. Default: 500.
	Batch int `yaml:"batch"`
	// Parallel is how many transactions of one partition run side by side,
	// dealt by key. Default: 1.
	Parallel int `yaml:"parallel"`
	// Audit says how losses are found.
	Audit Audit `yaml:"audit"`

	// DeadLetters says how long a message stays dead. Default: until somebody
	// redrives, edits or discards it.
	DeadLetters *DeadLetters `yaml:"dead_letters"`

	Telemetry Later `yaml:"telemetry" next:"take the section out; run prints its counters at the end, --json for programs"`

	path     string
	at       map[string]place
	redactor *Redactor
	text     *text
}

// Later is a word of the pipeline file that is known and has no function yet:
// it is refused, never ignored.
type Later struct{}

// Source says where messages come from: one of its fields.
type Source struct {
	// Embedded is the log in a folder of this host, without a server.
	Embedded *Embedded `yaml:"embedded"`
	// Kafka is a topic of a Kafka cluster.
	Kafka *Kafka `yaml:"kafka"`
	// RabbitMQ is a queue or a stream of RabbitMQ.
	RabbitMQ *RabbitMQ `yaml:"rabbitmq"`
	// RocketMQ is a topic of RocketMQ 5.
	RocketMQ *RocketMQ `yaml:"rocketmq"`
	// Late is how late a message can come again, where the source itself does
	// not say (embedded.retention does; run asks Kafka for the topic's): of a queue,
	// the longest time that a message can lie there. dedup.window must cover it.
	// Default: not said.
	Late time.Duration `yaml:"late"`
}

// Embedded is a destination of the embedded log.
type Embedded struct {
	// Path is the folder; relative to the pipeline file. Default: rollcall-data.
	Path string `yaml:"path"`
	// Destination is the name of the queue. Required.
	Destination string `yaml:"destination,required"`
	// Partitions is how many the destination gets when it is created; one that
	// is there must have as many. Default: 8, or what is there.
	Partitions int `yaml:"partitions"`
	// Retention is how long messages are kept; dedup.window must cover it.
	// Default: 0, for ever.
	Retention time.Duration `yaml:"retention"`
}

// Dedup says how a repeat is recognised.
type Dedup struct {
	// By is one strategy or a list: auto, stamp, position, key or none.
	// Default: auto.
	By []string `yaml:"by"`
	// Key lists what makes two messages the same piece of business: id, key,
	// content, header.NAME, payload.PATH. Default: none.
	Key []string `yaml:"key"`
	// Window is how long records are kept. Default: 14d.
	Window time.Duration `yaml:"window"`
}

// Retry says what happens to a message whose effect fails.
type Retry struct {
	// Attempts is how often a message is tried before it is dead. Default: 5.
	Attempts int `yaml:"attempts"`
	// First is the wait after the first attempt; it doubles. Default: 100ms.
	First time.Duration `yaml:"first"`
	// Most is the longest wait. Default: 30s.
	Most time.Duration `yaml:"most"`
	// Early is how long a message may wait for an earlier version or state.
	// Default: 1h.
	Early time.Duration `yaml:"early"`
}

// DeadLetters says how long a message stays dead.
type DeadLetters struct {
	// Keep is how long a message stays dead before it is discarded: counted, with
	// an entry in the operator log that keeps its body. At least 1h. Required.
	Keep time.Duration `yaml:"keep,required"`
}

// Audit says how losses are found: by books, which those who send keep beside the
// messages.
type Audit struct {
	// Grace is how long a message may be on its way before it is missed.
	// Default: 30s.
	Grace time.Duration `yaml:"grace"`
	// Side is the destination of the books, never one of yours. Default:
	// _rollcall.
	Side string `yaml:"side"`
	// Books are kept by what sends for this file: rollcall send, and effects
	// publish. Default: true.
	Books bool `yaml:"books"`
}

// Effect is one thing that must happen once: one of its fields.
type Effect struct {
	// Table writes a row in the store's database.
	Table *Table `yaml:"table"`
	// HTTP posts the message, by way of the outbox of the tables' transaction.
	HTTP *HTTP `yaml:"http"`
	// Redis sets a key, by the same way.
	Redis *Redis `yaml:"redis"`
	// Publish sends the message on to another destination, by the same way.
	Publish *Publish `yaml:"publish"`
}

// Path is where the file was read.
func (f *File) Path() string { return f.path }

// Redactor puts references back where text holds what they were replaced by.
func (f *File) Redactor() *Redactor { return f.redactor }

// Folder is the folder of the embedded log; of a file without one, its own.
func (f *File) Folder() string {
	if f.Source.Embedded == nil {
		return f.beside("")
	}
	return f.beside(f.Source.Embedded.Path)
}

// beside takes a relative path from the folder of the pipeline file, so that
// it means the same wherever rollcall is started.
func (f *File) beside(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(f.path), path)
}

// ConsumerConfig is what the file says about the consumer.
func (f *File) ConsumerConfig() rollcall.ConsumerConfig {
	by := make([]rollcall.Strategy, len(f.Dedup.By))
	for i, s := range f.Dedup.By {
		by[i] = rollcall.Strategy(s)
	}
	var keep time.Duration
	if f.DeadLetters != nil {
		keep = f.DeadLetters.Keep
	}
	return rollcall.ConsumerConfig{
		DeadKeep: keep,
		Batch:    f.Batch,
		Parallel: f.Parallel,
		Dedup:    rollcall.DedupConfig{By: by, Key: f.Dedup.Key, Window: f.Dedup.Window},
		Retry:    rollcall.RetryConfig{Attempts: f.Retry.Attempts, First: f.Retry.First, Most: f.Retry.Most, Early: f.Retry.Early},
	}
}

// folderDefault is where the embedded log lies when the file does not say.
const folderDefault = "rollcall-data"
