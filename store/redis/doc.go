// Package redis keeps claims (rollcall.Claims) in Redis: the leased two-phase
// record around an effect that lies outside of any database. It is no store for
// a consumer: Redis has no transaction that an effect could share. Use it by
// rollcall.Record and rollcall.Lock.
//
// A call is one script, which Redis runs whole or not at all, conditional on
// the owner's token. The server's clock judges leases and windows. [Store.ClaimAll]
// and [Store.CompleteAll] do many keys in one turn.
//
// # Can it have happened?
//
// An error is never Fresh. An error that is rollcall.ErrInDoubt may have
// happened; any other has not, and its text says what to do. The client library
// repeats nothing by itself. Only a claim whose reply was lost is asked again,
// once, on a new connection: it carries a number of its own, by which the
// server recognises it and gives it the token that it gave before. Is there no
// answer again, or comes the first question late, the key may be held under a
// token that nobody knows: it is in progress until that lease is over. Renew,
// Complete and Release in doubt are the caller's to repeat: the first two may
// be repeated freely, a Release that comes again may say ErrFenced.
//
// # What is promised, and what is not
//
// While Redis keeps what it answered, a key has one owner at a time, and what is
// done is done for its window. It does not keep it
//
//   - when it is killed and appendfsync is not always. [Store.Durability] says
//     what the server is set to: "none", "about a second", "every claim".
//     Everything in that span can be claimed again: done twice.
//   - in a failover (Sentinel), whatever that setting is: replication does not
//     wait. A claim and a completion that had not come to the replica are gone,
//     and the key is Fresh again: done twice. Its first owner is not told; its
//     token is refused when it completes. TestFailover shows it.
//   - in a split: a master that was replaced and does not know it yet goes on
//     answering those who still reach it. min-replicas-to-write bounds that time.
//   - when it evicts. Only maxmemory-policy noeviction is accepted, unless
//     [Config.AllowEviction]. It is looked at with every new connection.
//   - when somebody deletes keys, flushes, or restores an older file.
//
// So the receiver of the effect should know our key, or the effect may bear to
// happen twice. A token is useful there: a receiver that refuses lower ones
// than it saw is safe against all of these.
//
// Tokens are the server's time in microseconds, and always higher than the last
// one of the group, which is kept too. So they rise when keys expire and are
// released, and when Redis has lost its memory. What is left: memory lost (or a
// replica behind) and, at the same time, a clock that was set back below the
// last token, or that of a replica behind its master's. Then a token can be
// lower than one given before.
//
// The lease begins and ends by the server's clock: set forward, it ends leases
// early. A turn keeps all others waiting; one of a hundred keys takes about a
// millisecond (BenchmarkClaims).
//
// # Where it lies
//
// A claim is a hash at prefix:{group}:key, the key as 32 hexadecimal digits, of
// about 200 bytes. It expires when its window is over, and what was never
// completed [Config.Keep] after its lease. prefix:{group}:token never does. A
// user of Redis's access lists needs ~prefix:* +@read +@write +@scripting +time
// +info +ping, and +config|get for Durability.
//
// Redis 6 or newer, one server or Sentinel; not Redis Cluster. Tested with 7.0.
package redis
