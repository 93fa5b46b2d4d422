// Package redisset sets keys in Redis as an effect that happens once: the
// intent is a row of the outbox, written in the transaction of everything else
// that a message does, and each SET is guarded by a number of its key.
//
//	message := redisset.Message("cache", "price:tea", version, value)
//	store.Outbox().Enqueue(ctx, tx, []rollcall.Message{message})
//
// A Sender carries such rows, driven by a rollcall.Relay:
//
//	sender, err := redisset.New(map[string]redisset.Target{"cache": {Addr: "redis:6379"}}, redisset.Config{})
//	relay := rollcall.NewRelay(store, sender, rollcall.RelayConfig{})
//
// The number rises with every change of the key: the version column of the row
// that the value is made of, counted up in the transaction that enqueues. It is
// kept in Redis beside the value, and one script compares and sets both, so a
// relay that repeats or is late changes nothing:
//
//	higher than the key's                  set: value and number
//	lower, or the same with the same value  stale: it is settled and nothing is set
//	the same with another value             refused: two changes bear one number
//	the key holds no string                 refused (WRONGTYPE): it is not ours
//
// What is refused is kept in the outbox with the reason. While the server cannot
// be reached, is full (OOM) or is a replica (READONLY) everything waits and is
// tried again. What got no answer may have happened; it is sent again, which the
// number makes harmless. So each value takes effect once, as long as Redis keeps
// the numbers. When it loses them (killed without appendfsync always, failover,
// flush, eviction: a volatile-* policy spares them while Target.Remember is
// zero) a row that is late may set an older value, until the next change; and
// what Redis forgets is not sent again.
//
// Only absolute values can be had so: INCR or LPUSH repeated would count twice.
//
// Readers GET the key. Numbers lie at Target.Numbers followed by the key. A
// batch is one script: up to rollcall.RelayConfig.Batch keys keep others waiting
// for about a millisecond a hundred. Redis 6 or newer, one server; not Redis
// Cluster. Tested with 7.0. A user of Redis's access lists needs both key
// patterns and +eval +evalsha +get +set +type.
package redisset
