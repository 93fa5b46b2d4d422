// Package servers starts real servers for tests: child processes of the test,
// on loopback, in temporary folders, on ports that nobody else has.
//
//	s := servers.Start(t, servers.Postgres18, servers.Config{})
//	pgx.Connect(ctx, s.URL())
//	s.Kill()    // SIGKILL of every process of it
//	s.Restart() // on the same folder and port; it answers when this returns
//
// [Start] gives the test a server of its own, [Shared] the one of the test
// binary: take the latter, with a name of your own in it, where nothing is done
// to the server itself.
//
// [StartKafka] gives it a cluster of Kafka nodes, [KafkaSecure] one with secure
// listeners, and [Java] runs a program with Kafka's own client. For what a
// network does to a client's connections see internal/kafkaproxy.
//
// scripts/servers installs what they need. What is missing fails the test: a
// test that did not run has proved nothing.
//
// A server ends with the test process, also when that is killed: the kernel
// kills it. The folders of dead test processes are removed by the next one.
// Nothing but our own children and theirs is ever signalled, by process id.
// Servers sync to disk as they would in production: what is durable is what the
// tests are about. That is about dead processes, not about power cuts: the
// page cache survives a SIGKILL.
//
// It works on Linux only (parent death signal, /proc).
package servers
