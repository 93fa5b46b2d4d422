// Package id makes identifiers: time-ordered ones of 128 bits that need nobody's
// consent, and short numbers in blocks from a store.
//
// A Generator makes UUIDs of version 7: they sort by the time they were made,
// each later than the one before, whatever the clock does. With a store behind
// it (Config.Marks) they also sort after those of its predecessor that was
// killed, though the clock was set back in between: how far time was used is
// written down ahead of its use.
//
// Numbers are 1, 2, 3 … of a named series, taken from the store a block at a
// time. A block is durable before its first number is given out. What a killed
// process had left of its block is a gap: gaps are allowed, repeats never.
//
//	store, err := id.OpenFile("ids.db")
//	ids, err := id.New(ctx, id.Config{Marks: store})
//	one, err := ids.Next(ctx)                                  // 0199b0c4-8f5e-7a31-…
//	bills := id.NewNumbers(store, "bills", id.NumbersConfig{})
//	number, err := bills.Next(ctx)                             // 1
//
// Handler serves both over HTTP, for programs in other languages.
package id
