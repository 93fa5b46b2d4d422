package rollcall

import (
	"log/slog"
	"time"
)

// Strategy is one way to recognise a repeat.
type Strategy string

// The strategies of DedupConfig.By.
const (
	// ByAuto: stamp, position where the broker replays, and key as soon as one
	// is configured or the MessageID is the application's own.
	ByAuto Strategy = "auto"
	// ByStamp: a roll over the sender's numbers.
	ByStamp Strategy = "stamp"
	// ByPosition: a roll over the positions of an owned partition.
	ByPosition Strategy = "position"
	// ByKey: a row for each DedupKey (the Inbox).
	ByKey Strategy = "key"
	// ByNone: nothing is recorded; the effect must absorb repeats itself.
	ByNone Strategy = "none"
)

// DedupConfig says how a repeat is recognised.
type DedupConfig struct {
	// By lists the strategies that work together. Default: auto.
	By []Strategy
	// Key lists what the DedupKey is made of: "id", "key", "content",
	// "header.NAME" or "payload.PATH", all of them together. A message in which
	// one is missing or empty has no key. Default: none; under ByKey alone and
	// for MessageIDs that are the application's own: "id".
	Key []string
	// Window is how long keys, and rolls of senders that went silent, are kept.
	// After it a repeat is New. It must cover how late the broker can bring a
	// message again. Default: 14 days.
	Window time.Duration
}

// RetryConfig says what happens to a message whose handler fails.
type RetryConfig struct {
	// Attempts is how often a message is tried before it is dead. Default: 5.
	Attempts int
	// First is the wait after the first attempt; it doubles. Default: 100 ms.
	First time.Duration
	// Most is the longest wait. Default: 30 s.
	Most time.Duration
	// Early is how long a message may wait for an earlier version or state
	// before it is dead. Default: 1 h.
	Early time.Duration
}

// ConsumerConfig is the settings of a Consumer. The zero value is safe.
type ConsumerConfig struct {
	// Batch is the most messages of one transaction. Default: 500.
	Batch int
	// Clock is where time comes from. Default: the system's.
	Clock Clock
	// DeadKeep is how long a message stays dead: then it is discarded, counted as
	// such, with an entry in the operator log that keeps its body. What is parked or
	// waiting is never given up by age. Default: 0, for ever.
	DeadKeep time.Duration
	// Dedup says how a repeat is recognised. Default: auto.
	Dedup DedupConfig
	// Drain is how long work in hand may take after Run's context has ended.
	// Default: 30 s.
	Drain time.Duration
	// Gather runs handlers of different Keys side by side within one
	// transaction. A handler then touches rows of its own Key only, or does its
	// arithmetic in SQL: inside one transaction row locks do not keep two
	// handlers apart. On PostgreSQL, MySQL and MariaDB their statements travel
	// together: what one handler alone may say (savepoints, and so Once; settings)
	// is an error there. A message whose handler fails by it is run again by itself,
	// not gathered: right, and slower than without Gather. Default: false, one after the other, right for any handler.
	Gather bool
	// HandlerTimeout is the deadline of one handler call. A handler that
	// returns nil after it has failed all the same. Default: 1 min.
	HandlerTimeout time.Duration
	// Linger is how long to wait for a batch to fill. Default: 10 ms.
	Linger time.Duration
	// Observer is told what happens. Default: SlogObserver(slog.Default()).
	Observer Observer
	// Parallel is how many transactions of one partition run side by side,
	// dealt by Key. Default: 1.
	Parallel int
	// Retry says what happens to a message whose handler fails.
	Retry RetryConfig
	// RollSize is the most bytes of one roll; above it the oldest region
	// becomes Unknown, with an event. Default: 1 MiB.
	RollSize int
	// Worker is this worker's name, unique among the living ones; the part
	// after it is random. Default: "worker".
	Worker string
}

func (c ConsumerConfig) withDefaults() ConsumerConfig {
	c.Batch = orDefault(c.Batch, 500)
	c.Drain = orDefault(c.Drain, 30*time.Second)
	c.HandlerTimeout = orDefault(c.HandlerTimeout, time.Minute)
	c.Linger = orDefault(c.Linger, 10*time.Millisecond)
	c.Parallel = orDefault(c.Parallel, 1)
	c.RollSize = orDefault(c.RollSize, 1<<20)
	c.Dedup.Window = orDefault(c.Dedup.Window, 14*24*time.Hour)
	c.Retry.Attempts = orDefault(c.Retry.Attempts, 5)
	c.Retry.First = orDefault(c.Retry.First, 100*time.Millisecond)
	c.Retry.Most = orDefault(c.Retry.Most, 30*time.Second)
	c.Retry.Early = orDefault(c.Retry.Early, time.Hour)
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	if c.Observer == nil {
		c.Observer = SlogObserver(slog.Default())
	}
	if c.Worker == "" {
		c.Worker = "worker"
	}
	if len(c.Dedup.By) == 0 {
		c.Dedup.By = []Strategy{ByAuto}
	}
	return c
}

func orDefault[T int | time.Duration](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}
