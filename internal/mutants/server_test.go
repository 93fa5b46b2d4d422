package mutants

// serverMutants are planted in what the stores on SQL servers share, and in the
// one on PostgreSQL; the kit runs on a real server.
var serverMutants = []mutant{
	{"server: token not compared", "store/internal/rows/token.go",
		"case rollcall.Token(current) != hold.Token:", "case false:", onServer, "sleeper"},
	{"server: older tokens are good", "store/internal/rows/token.go",
		"case rollcall.Token(current) != hold.Token:", "case rollcall.Token(current) < hold.Token:", onServer, "sleeper"},
	{"server: turn without compare", "store/internal/sqlstore/asides.go",
		"is = is || string(s) == state", "is = is || string(s) != \"\"", onServer, "redrive-any"},
	{"server: another's stamp is overwritten", "store/internal/sqlstore/outbox.go",
		"if stamp == nil || string(stamp) == want[id] {", "if true {", onServer, "TestStampedOnce"},
	{"server: a taken key is fresh", "store/internal/sqlstore/records.go",
		"return fresh, len(fresh) == len(keys), err", "return fresh, true, err", onServer, "sent-twice"},
	{"server: a lease that is over holds on", "store/internal/sqlstore/claims.go",
		"if had.Token > 0 && had.Until > now {", "if had.Token > 0 {", onServer, "TestClaims/15/claim-expired"},
	{"server: rolls are read without a lock", "store/internal/sqlstore/records.go",
		"\" ORDER BY scope FOR UPDATE\"", "\" ORDER BY scope\"", onServer, "parallel"},
	{"postgres: no answer to COMMIT is a rollback", "store/postgres/tx.go",
		"	case undone(err):", "	case true:", onServer, "TestCommitInDoubt"},
	{"postgres: savepoint undo is a no-op", "store/postgres/tx.go",
		"return func(ctx context.Context) error { return t.s.Database.Wrap(\"undo to a savepoint\", t.undo(ctx, n)) }, nil",
		"return func(ctx context.Context) error { return nil }, nil", onServer, "part-of-a-batch"},
	{"postgres: a handler may say COMMIT", "store/postgres/usertx.go",
		"if word := sqltext.Ends(text, sqltext.PostgreSQL); word != \"\" {", "if word := \"\"; word != \"\" {", onServer, "TestHandlerCannotEnd/COMMIT"},
}
