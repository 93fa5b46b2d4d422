package server

// texts are what is said before and after the figures of a page.
type texts struct{ head, tail string }

// postgresText explains what is missed.
var postgresText = texts{`# Figures: PostgreSQL

%s, %s, %d cores shared with other work, measured %s; medians of %d, each against an F measured just
before and just after. F is the same effects (an order and the balance of one of a thousand accounts), 500 a transaction, one
turn a transaction, the repeats (a fifth) taken out beforehand. "Network": 0.5 ms more for each turn, 1 ms for each commit.
"Turns": to the servers, for each 500 deliveries, connecting included. The log lies in memory. Read ratios. Written by

    rollcall bench --messages 100000 --postgres URL --redis ADDRESS --out docs/figures-postgres.json --svg docs/figures-postgres.svg
    rollcall bench --postgres URL --keys 20000000 --out docs/figures-postgres.json   # growth, keeps the other figures
    UPDATE=1 go test -run TestPage ./figures/server
`, `
**Where the time goes.** A batch of an owned partition takes two turns (ADR 0009): all up to the effect, and the records with
COMMIT; F one. What the turns column has above that is connecting, the first batch of a partition, which asks, and batches that
are not full; an Inbox has about two more. With one worker client and server take turns, so each turn is idle time of both. An
Inbox writes a row and an index entry more for each message; its keys are ordered by time where ids are UUIDs version 7
(ADR 0010), "random keys" are others. Of the client's CPU the engine had about a fifth, pgx's encoding of arrays and the socket
most of the rest (profiled before ADR 0009). Competing workers of one queue redo a batch when a copy of one of its messages was
committed elsewhere while it ran. What fails among gathered handlers costs turns: the column shows how many.

**Record in Redis, pipelined**: 500 keys are claimed in one turn, the fresh ones' effect is committed without a record, and they
are completed in one turn, the three side by side for batches that follow each other. A crash in between may repeat an effect.
`}

// mysqlText is the same for MySQL and MariaDB.
var mysqlText = texts{`# Figures: MySQL and MariaDB

%s, %s, %d cores shared with other work, measured %s; medians of %d, each against an F measured just
before and just after. F is the same effects (an order and the balance of one of a thousand accounts), 500 a transaction, each one
packet of four statements (BEGIN, an INSERT of 500 rows, an UPDATE joined with the sums as JSON, COMMIT), the repeats (a fifth)
taken out beforehand. Tried for the balances, too: INSERT … ON DUPLICATE KEY UPDATE, a join with rows of UNION ALL, and a join
with the orders just written; the list as JSON was the fastest on both, or within the noise of it. "Network": 0.5 ms more for
each turn; commits are not delayed there, as they are on PostgreSQL's page. "Turns": to the server, for each 500 deliveries,
connecting included; F takes one for 500 distinct ones. The log lies in memory. Read ratios. Written by

    rollcall bench --mysql DSN --mysql DSN --out docs/figures-mysql.json --svg docs/figures-mysql.svg
    UPDATE=1 go test -run TestPage ./figures/server
`, `
**Where the time goes.** F takes one turn a transaction, a batch nine: START TRANSACTION, the token, who waits, the rolls with
their locks, the two statements of the effect, the rolls, the counters, COMMIT; an Inbox two more. (The
column has connecting and making the tables, too.) The store sends its own statements one a
packet: with several in one, a handler's text could carry a COMMIT behind another statement. Gathered handlers, whose
statements are checked and do travel together, are not in this table (BenchmarkGather in store/mysql: about a tenth of the
time of serial ones with 0.5 ms a turn). An Inbox spells its keys out in the text of an INSERT and, in a batch with a repeat, in that of
a SELECT.
`}

// kafkaText is the same for Kafka before PostgreSQL.
var kafkaText = texts{`# Figures: Kafka to PostgreSQL

%s, %s, %d cores shared with other work and with both servers, measured %s; medians of %d, each
against an F measured just before and just after. The effect is an order and the balance of one of a thousand accounts; a fifth of the
deliveries are repeats, taken out beforehand for F alone; bodies are JSON, and the log has one replica. F is written with the bare
clients (franz-go, pgx): a connection a partition, 2000 messages a transaction (as in rollcall's set-based ways; other sizes were
not tried), arrays, one turn each, the next ones decoded meanwhile, offsets committed after; no record of what is done.
The expert's statement is the same on all deliveries, with the orders' own key deciding in one statement a batch. Workers are
partitions, of one member. "Network": 0.5 ms more for each turn to either server, 1 ms for each commit. Read ratios. Written by

    rollcall bench --messages 300000 --kafka HOST:PORT --postgres URL --out docs/figures-kafka.json --svg docs/figures-kafka.svg
    rollcall bench --kafka HOST:PORT --postgres URL --watch 10000000 --out docs/figures-kafka.json   # memory, keeps the other figures
    UPDATE=1 go test -run TestPage ./figures/server
`, `
**Where the time goes.** Of the client's CPU (profiled, one worker) a delivery takes 1.2 µs in F, 3.9 µs with arrays and about 7.5 µs
with table effects, and with one worker client and server take turns. Of the 3.9 µs reading and unpacking in franz-go is a third, the
handler an eighth, the protocol's tables a tenth, making messages of records a tenth, and most of the rest is the collector: the
heap is small, so it runs often (seventy times a second, when that was counted). With GOGC=400 it was 2.8 µs and a fifth more deliveries, which is not the
default because of the memory. A batch takes a turn more than F's (ADR 0009) and its handler decodes inside the transaction, F
beside it. Table effects read and lock the accounts first, a turn more, and send values as texts, which the server casts; JSON by
path, checks against the column's type and text arrays are most of their CPU.

**What the profiles changed.** A partition that is paused loses what the client has read ahead of it: everything was read about three
times (5.3 µs a delivery, and 4 workers 32 % of F). A member that joins looks at the log first, and unpacked a mebibyte to see each
message: it took more than six seconds on a busy group. Members heard of a rebalance by a heartbeat every three seconds, now one.

**Members.** A partition that moves waits until the group has met twice (cooperative), which members hear of by their heartbeats, and for
the new owner's look at the log. Not profiled further.

**Sending.** The bare client's records have no headers; ours have an id and a stamp, which is nearly as many bytes again. A tenth of the CPU is
making the id, and the publisher hands over one batch (here 20000; 1000 was slower, if the noise did not deceive) after the other, so that nothing overtakes a
message that is sent again: while it waits for the answers the client has nothing to do.
`}
