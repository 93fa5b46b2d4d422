package mutants

// deadMutants are planted in the operator log, in what walks the rolls, and in
// what operators do to rows set aside.
var deadMutants = []mutant{
	{"operator log outside the transaction", "store/memory/log.go",
		"if err := r.put(ctx, logRow(group, e.ID), e); err != nil {\n				return err\n			}",
		"r.session.db.rows[logRow(group, e.ID)] = e", onStore, "operator-log"},
	{"operator log of all groups", "store/memory/log.go",
		"t.eachOf(\"log\", group, func(_ row, v any)", "t.session.scan(\"log\", func(_ string, v any)", onStore, "operator-log"},
	{"sweep forgets the operator log", "store/memory/upkeep.go",
		"		t.forget(group, now, old, &swept)\n",
		"		t.forget(group, now, old, &swept)\n		t.eachOf(\"log\", group, func(r row, _ any) { t.session.write(r, nil) })\n", onStore, "operator-log"},
	{"operator log in the order of text", "store/memory/log.go",
		"\"%q %020d\"", "\"%q %d\"", onStore, "operator-log-pages"},
	{"operator log repeats the last of a page", "store/memory/log.go",
		"e.ID > after &&", "e.ID >= after && e.ID > 0 &&", onStore, "operator-log-pages"},
	{"message ids of the operator log are made text", "store/internal/rows/log.go",
		"Bytes(string(e.MessageID))", "Bytes(fmt.Sprintf(\"%q\", string(e.MessageID)))", onSQLite, "operator-log-bytes"},
	{"scan repeats the last of a page", "store/memory/log.go",
		"scope.Compare(after) > 0 &&", "scope.Compare(after) >= 0 &&", onStore, "scan"},
	{"sqlite: scan of all groups", "store/sqlite/log.go",
		"FROM rollcall_rolls WHERE grp = ? AND", "FROM rollcall_rolls WHERE '' <> ? AND", onSQLite, "scan"},
	{"sqlite: scan sees senders only", "store/sqlite/log.go",
		"AND data IS NOT NULL ORDER", "AND substr(scope, 1, 1) = x'01' ORDER", onSQLite, "scan"},
	{"scan waits for batches", "store/memory/log.go",
		"if scope := scopeOf(r); scope", "_ = t.session.lock(context.Background(), r, false)\n			if scope := scopeOf(r); scope", onStore, "scan-no-locks"},
	{"server: scan waits for batches", "store/internal/sqlstore/log.go",
		"ORDER BY scope LIMIT ?\"", "ORDER BY scope LIMIT ? FOR SHARE\"", onServer, "scan-no-locks"},
}
