// Package filelog is the embedded log: destinations with partitions in one
// SQLite file, for any number of processes of one host, without a server.
//
//	log, err := filelog.Open("data/log.db", filelog.Config{})
//	sender := log.Sender()
//	source := log.Source("orders")
//
// What it promises:
//
//   - A message that Publish calls Stored has been fsynced (WAL,
//     synchronous=FULL). A repeat is stored again: the log absorbs nothing.
//   - Offsets of a partition run 0, 1, 2 … without holes. A hole, a bit that
//     flipped, an end that fell back are refused with rollcall.ErrDamaged and
//     the place; nothing is skipped and nothing is reset.
//   - A partition has one owner in a group. Leases never look at a wall clock:
//     a member is gone when the kernel released its file lock, or when its
//     heartbeat stood still for Config.Lease on the clock of who watches. The
//     lease keeps work apart; it does not fence. Tokens of the store do that.
//   - The position to start from is the consumer's word (Owner.Assigned). What
//     Settle stores is for tools and decides nothing.
//
// Files: the log itself with SQLite's -wal and -shm beside it; .marks, the
// high mark of each partition, by which an older copy or a lost tail is
// noticed; .members, a folder with one locked file for each living member.
// Copy or move log, -wal and .marks together, while nobody has them open.
//
// One limit: SQLite cannot break a writer that was stopped in mid-transaction.
// While such a process is stopped others cannot publish; they get Unknown, with
// an error that says so, and go on when it runs or dies.
package filelog
