package sqltext

import "testing"

func TestEnds(t *testing.T) {
	for _, c := range []struct {
		text           string
		postgres, mine bool // whether it ends a transaction of PostgreSQL, of MySQL
	}{
		{"INSERT INTO t VALUES (1)", false, false},
		{"COMMIT", true, true},
		{" commit ;", true, true},
		{"/* a */ -- b\n COMMIT", true, true},
		{"INSERT INTO t VALUES (';COMMIT')", false, false},
		{"INSERT INTO t VALUES ('a''; COMMIT; ')", false, false},
		{"SELECT 1; commit", true, true},
		{"SELECT $$; COMMIT;$$", false, true},
		{"SELECT $x$;$$; COMMIT;$x$, $1", false, true},
		{"SELECT $1; END", true, true},
		{"SELECT /* /* */ ; COMMIT; */ 1", false, true},
		{"SELECT E'\\'; COMMIT'", false, false},
		{"SELECT '\\'; COMMIT -- '", true, false},
		{"ROLLBACK", true, true},
		{"ROLLBACK WORK", true, true},
		{"ROLLBACK TO SAVEPOINT mine", false, false},
		{"ROLLBACK TO mine", false, false},
		{"ROLLBACK TO rollcall_1", true, true},
		{`ROLLBACK TO SAVEPOINT "rollcall_1"`, true, true},
		{"RELEASE SAVEPOINT rollcall_1", true, true},
		{"RELEASE SAVEPOINT mine", false, false},
		{"SAVEPOINT mine", false, false},
		{"PREPARE TRANSACTION 'x'", true, true},
		{"PREPARE q AS SELECT 1", false, false},
		{"START TRANSACTION", true, true},
		{"CREATE TABLE t (a int)", false, true},
		{"CREATE TEMPORARY TABLE t (a int)", false, false},
		{"DROP TEMPORARY TABLE t", false, false},
		{"/*!50000 COMMIT */", false, true},
		{"# a\nCOMMIT", false, true},
		{"SET autocommit = 1", false, true},
		{"SET @@session.autocommit=1", false, true},
		{"UPDATE t SET end_at = 1 WHERE a = 'begin'", false, false},
		{"WITH begin AS (SELECT 1) SELECT * FROM begin", false, false},
		{"TRUNCATE t", false, true},
		{"'unclosed", false, false},
		{`SELECT name'\'; COMMIT; --'`, true, false},
		{`SELECT E'a''\''; COMMIT; --'`, true, true},
		{"SELECT E'a'\n'\\''; COMMIT; --'", true, true},
		{"SELECT E'a' -- b\n '\\''; COMMIT; --'", true, true},
		{"SELECT 1 -- a\r; COMMIT", true, false},
		{"SELECT ` 1; COMMIT; SELECT ` 1", true, false},
		{`SELECT "\""; COMMIT; -- "`, false, true},
		{"SAVEPOINT rollcall_1", true, true},
		{`ROLLBACK TO SAVEPOINT U&"\0072ollcall_1"`, true, true},
		{"", false, false},
	} {
		if got := Ends(c.text, PostgreSQL) != ""; got != c.postgres {
			t.Errorf("PostgreSQL: %q ends: %v", c.text, got)
		}
		if got := Ends(c.text, MySQL) != ""; got != c.mine {
			t.Errorf("MySQL: %q ends: %v", c.text, got)
		}
	}
}

func TestOutlives(t *testing.T) {
	for text, want := range map[string]bool{
		"SET statement_timeout = 0": true, "set session role x": true, "SET TRANSACTION READ ONLY": true, "SELECT 1; SET search_path TO a, b": true,
		"SET LOCAL synchronous_commit = off": true, "RESET ALL": true, "DISCARD PLANS": true, "DEALLOCATE ALL": true, "DEALLOCATE PREPARE ALL": true,
		"SET LOCAL statement_timeout = 0": false, "SET CONSTRAINTS ALL IMMEDIATE": false, "DEALLOCATE q": false,
		"UPDATE t SET a = 1": false, "SHOW search_path": false, "": false,
	} {
		if got := Outlives(text) != ""; got != want {
			t.Errorf("%q outlives: %v", text, got)
		}
	}
}

func TestSavepoint(t *testing.T) {
	for text, want := range map[string]bool{
		"SAVEPOINT a": true, "SELECT 1; rollback to a": true, "RELEASE a": true, "SELECT savepoint FROM t": false, "SELECT ';SAVEPOINT a'": false,
	} {
		if got := Savepoint(text, PostgreSQL) != ""; got != want {
			t.Errorf("%q is a savepoint: %v", text, got)
		}
	}
}
