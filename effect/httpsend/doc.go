// Package httpsend makes an HTTP request an effect that happens once: durable
// intent first, an idempotency key with it, and an honest word when nobody knows.
//
// The intent is a row of the outbox, written in the transaction of everything
// else that the message does:
//
//	store.Outbox().Enqueue(ctx, tx, []rollcall.Message{{Destination: "http:bank", ID: m.ID, Body: order}})
//
// A Sender posts such rows, driven by a rollcall.Relay:
//
//	sender, err := httpsend.New(map[string]httpsend.Target{"bank": {URL: "https://bank.example/pay", Honours: true}}, httpsend.Config{})
//	relay := rollcall.NewRelay(store, sender, rollcall.RelayConfig{})
//
// What the answer means:
//
//	2xx                                     stored: it happened
//	4xx but those below                     refused: kept in the outbox with status and begin of the answer
//	429, 425; no connection                 surely not happened: tried again, with growing pauses
//	408, 409, 3xx, 5xx; no or a cut answer  in doubt
//
// A receiver that honours the key (Target.Honours) gets what is in doubt again,
// with the same key, until it says 2xx or refuses. To one that does not, an
// attempt is durable before the first byte of it leaves, and what is in doubt is
// never sent again by itself, not after kill -9 either: it lies parked in the
// outbox until an operator has asked the receiver and redrives or discards it
// (rollcall.Attempts).
//
// Requests of one relay go out one after the other, in the order of the outbox; a
// receiver that is down or that leaves a repeatable one in doubt stops those
// behind it, whatever their receiver. Relays do not share an outbox by receiver.
//
// Only configured URLs are ever called, never one that a message brings. The
// address is checked after DNS, when connecting: private, loopback, link-local
// and metadata addresses are refused unless Target.Networks lists them.
// Redirects are not followed, proxies of the environment not used, answers are
// bounded in size and time, TLS is 1.2 or later, HTTP is 1.1.
package httpsend
