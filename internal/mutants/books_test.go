package mutants

// bookMutants are planted in the books of senders.
var bookMutants = []mutant{
	{"books: unknown counts as stored", "bookpage.go",
		"	case fate == Stored:\n		return bookStored", "	case fate != Refused:\n		return bookStored", ".", "TestBooksTellTheTruth"},
	{"books: refused is not void", "bookpage.go",
		"	case fate == Refused && !doubt:", "	case false && doubt:", ".", "TestRelayBooksOfRefusals"},
	{"books: refused is void, whatever was before", "bookpage.go",
		"	case fate == Refused && !doubt:", "	case fate == Refused:", ".", "TestBooksTellTheTruth"},
	{"books: void, though nobody knows", "bookpage.go",
		"l.surelyVoid(stored, doubtful)", "l.surelyVoid(stored)", ".", "TestRelayBooksOfDoubt"},
	{"books: the end before the last fate", "publisher.go",
		"	err := p.Flush(ctx)\n	p.stop()\n	p.loops.Wait()\n	p.books.close(ctx)\n", "	p.books.close(ctx)\n	err := p.Flush(ctx)\n	p.stop()\n	p.loops.Wait()\n", ".", "TestBooksEndLast"},
	{"books: without a side destination no message", "publisher.go",
		"		o.result = result\n", "		if p.books != nil && p.books.lanes == nil {\n			result = PublishResult{Err: ErrInDoubt}\n		}\n		o.result = result\n", ".", "TestBooksFail/missing"},
	{"books: messages wait for them", "publisher.go",
		"	p.openBooks(r, batch)\n	for try", "	p.openBooks(r, batch)\n	if p.books != nil {\n		_ = p.books.write(p.alive, false)\n	}\n	for try", ".", "TestBooksFail/slow"},
	{"books: a clock set back stops them", "bookwrite.go",
		"(stated > restate*k.config.Idle || stated < 0)", "stated > restate*k.config.Idle", ".", "TestBooksAndTheClock"},
	{"books: what a relay stamped and lost is forgotten", "relay.go",
		"			r.noteStamps(fresh, err)\n", "", ".", "TestRelayBooksOfLostStamps"},
	{"books: a forgotten life keeps its keeper", "bookkeeper.go",
		"			if k.evicted {", "			if false {", ".", "TestBooksOfVeryManyLives"},
}
