//go:build linux

package effect_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// typed is what is sent, the type of the column, and what it then holds as
// text, or what the error says. A repeat must be recognised in each.
type typed struct{ column, sent, want string }

const refused = "refused: "

var typedEverywhere = []typed{
	{"BIGINT", "9223372036854775807", "9223372036854775807"}, {"BIGINT", "9223372036854775808", refused + "no whole number of 64 bits"},
	{"SMALLINT", "1e3", "1000"}, {"SMALLINT", "32768", refused + "out of the range"}, {"INT", "1.5", refused + "no whole number"},
	{"INT", `"abc"`, refused + "is no number"}, {"INT", `" +7 "`, "7"}, {"INT", "null", "NULL"}, {"INT", "true", "1"}, {"INT", `{"a":1}`, refused + "is no number"},
	{"DECIMAL(10,2)", "12.50", "12.50"}, {"DECIMAL(10,2)", "12.500", "12.50"}, {"DECIMAL(10,2)", "12.505", refused + "more than 2 digits after the point"},
	{"DECIMAL(10,2)", "99999999.99", "99999999.99"}, {"DECIMAL(10,2)", "100000000", refused + "too large"}, {"DECIMAL(10,2)", `"1e2"`, "100.00"},
	{"DECIMAL(10,2)", "-0.005", refused + "more than 2 digits"}, {"DECIMAL(38,18)", "0.100000000000000005", "0.100000000000000005"},
	{"DECIMAL(30,0)", "123456789012345678901234567890", "123456789012345678901234567890"},
	{"DOUBLE PRECISION", "0.1", "0.1"}, {"DOUBLE PRECISION", "9007199254740993", refused + "would lose digits"}, {"DOUBLE PRECISION", "true", refused + "no number"},
	{"VARCHAR(5)", `"abcde"`, "abcde"}, {"VARCHAR(5)", `"äöüß€"`, "äöüß€"}, {"VARCHAR(5)", `"abcdef"`, refused + "6 characters"}, {"VARCHAR(5)", `"abcde  "`, refused + "7 characters"},
	{"VARCHAR(20)", "12.50", "12.50"}, {"VARCHAR(20)", `"a  "`, "a  "}, {"CHAR(5)", `"ab"`, "ab"}, {"CHAR(5)", `"ab "`, refused + "lose the spaces"},
	{"DATE", `"2026-02-28"`, "2026-02-28"}, {"DATE", `"2026-02-30"`, refused + "none of the values"},
}

var typedPostgres = []typed{
	{"numeric", "12.50", "12.50"}, {"numeric", "0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"},
	{"real", "0.1", "0.1"}, {"real", "16777217", refused + "lose digits"},
	{"text", `"a\u0000b"`, refused + "U+0000"}, {"boolean", "true", "true"}, {"boolean", `"false"`, "false"}, {"boolean", "1", refused + "none of the values"},
	{"jsonb", `{"b":1.50,"a":[null,"x"]}`, `{"a": [null, "x"], "b": 1.50}`}, {"jsonb", `"x"`, `"x"`}, {"jsonb", "12345678901234567890.5", "12345678901234567890.5"},
	{"jsonb", `{"a":"\u0000"}`, refused + "U+0000"}, {"json", `{"b":1,  "a":2}`, `{"b":1,  "a":2}`},
	{"uuid", `"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"`, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}, {"uuid", `"a0eebc99"`, refused + "none of the values"},
	{"timestamptz", `"2026-03-29T02:30:00+02:00"`, "2026-03-29 00:30:00+00"}, {"timestamptz", `"2026-03-29T02:30:00"`, refused + "no time with an offset"},
	{"timestamptz(3)", `"2026-03-29T02:30:00.1234Z"`, refused + "more than 3 digits"}, {"timestamp", `"2026-03-29 02:30:00.5"`, "2026-03-29 02:30:00.5"},
	{"bytea", `"a\u0000ä"`, "\\x6100c3a4"}, {"mood", `"happy"`, "happy"}, {"mood", `"Happy"`, refused + "none of the values"}, {"short", `"abcd"`, refused + "4 characters"},
}

var typedMySQL = []typed{
	{"TINYINT UNSIGNED", "255", "255"}, {"TINYINT UNSIGNED", "-1", refused + "out of the range"}, {"BIGINT UNSIGNED", "9223372036854775807", "9223372036854775807"},
	{"BIGINT UNSIGNED", "18446744073709551615", refused + "64 bits"}, {"DECIMAL(5,2) UNSIGNED", "-1", refused + "negative"},
	{"BOOLEAN", "true", "1"}, {"TINYTEXT", `"` + strings.Repeat("ä", 127) + `"`, strings.Repeat("ä", 127)}, {"TINYTEXT", `"` + strings.Repeat("ä", 128) + `"`, refused + "256 bytes"},
	{"VARCHAR(5) CHARACTER SET latin1", `"ä"`, refused + "character set"}, {"VARCHAR(5) CHARACTER SET utf8mb3", `"😀"`, refused + "character set"}, {"VARCHAR(5)", `"😀"`, "😀"},
	{"VARBINARY(4)", `"a\u0000b"`, "a\x00b"}, {"VARBINARY(4)", `"abcde"`, refused + "5 bytes"}, {"BINARY(4)", `"abcd"`, "abcd"}, {"BINARY(4)", `"abc"`, refused + "3 bytes"},
	{"ENUM('a','it''s')", `"it's"`, "it's"}, {"ENUM('a','b')", `"A"`, refused + "none of the values"},
	{"DATETIME(6)", `"2026-03-29T02:30:00.123456+02:00"`, "2026-03-29 00:30:00.123456"}, {"DATETIME", `"2026-03-29T02:30:00.5Z"`, refused + "more than 0 digits"},
	{"DATETIME(3)", `"2026-03-29 02:30:00.25"`, "2026-03-29 02:30:00.250"}, {"TIMESTAMP(6) NULL", `"2026-03-29T02:30:00+02:00"`, "2026-03-29 00:30:00.000000"},
	{"LONGTEXT", `"a\u0000b"`, "a\x00b"}, {"JSON", `{"b": 1}`, `{"b": 1}`},
}

// What is sent is what is stored, or an error of the message; the server is
// never left to round or cut.
func TestTypedColumns(t *testing.T) {
	onSome(t, "sqlite", nil, func(t *testing.T, db *database) {
		cases := append([]typed(nil), typedEverywhere...)
		if db.product == "postgres" {
			cases = append(cases, typedPostgres...)
			db.exec(t, "CREATE TYPE mood AS ENUM ('happy', 'sad')", "CREATE DOMAIN short AS varchar(3)")
		} else {
			cases = append(cases, typedMySQL...)
		}
		if db.product == "mysql" {
			cases = append(cases, typed{"JSON", `{"a":12345678901234567890.5}`, refused + "lose digits"}, typed{"JSON", `{"b":1.5,"a":["x",1e2]}`, `{"a": ["x", 100.0], "b": 1.5}`})
		}
		if db.product == "mariadb" {
			cases = append(cases, typed{"UUID", `"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"`, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"})
		}
		for _, c := range cases {
			db.exec(t, "DROP TABLE IF EXISTS v", "CREATE TABLE v (id {key} PRIMARY KEY, c "+c.column+")")
			db.typed(t, c)
		}
	})
}

func (db *database) typed(t *testing.T, c typed) {
	t.Helper()
	ts := db.tables(t, effect.Table{Name: "v", Mode: effect.Insert, Key: []string{"id"}, Columns: map[string]string{"id": "const:k", "c": "payload.v"}})
	m := body(`{"v":%s}`, c.sent)
	err := db.one(t, ts, m)
	if why, is := strings.CutPrefix(c.want, refused); is {
		isData(t, err, why)
		isData(t, err, "column c of table v")
		return
	}
	text := "c::text"
	if db.product != "postgres" {
		text = "CAST(c AS CHAR)"
	}
	if got := db.dump(t, "SELECT COALESCE("+text+", 'NULL') FROM v"); err != nil || got != "string:"+c.want {
		t.Errorf("%s into %s: %v, holds %s", c.sent, c.column, err, got)
	}
	if err := db.one(t, ts, m); err != rollcall.Repeated {
		t.Errorf("%s into %s, again: %v", c.sent, c.column, err)
	}
}

// Sums of decimals are exact and keep to the column.
func TestAddToDecimals(t *testing.T) {
	onSome(t, "sqlite", []string{"CREATE TABLE account (id {key} PRIMARY KEY, balance DECIMAL(6,2), small SMALLINT)"}, func(t *testing.T, db *database) {
		ts := db.tables(t, effect.Table{Name: "account", Mode: effect.Add, Key: []string{"id"},
			Columns: map[string]string{"id": "payload.id", "balance": "payload.x", "small": "payload.n"}})
		m := func(x, n string) rollcall.Message { return body(`{"id":"a","x":%s,"n":%s}`, x, n) }
		wantOutcomes(t, db.apply(t, ts, m("0.10", "1"), m("0.2", "2")), nil, nil)
		got := db.apply(t, ts, m("9999.60", "0"), m("0.10", "0"), m("0.09", "32767"))
		wantOutcomes(t, got[:1], nil)
		isData(t, got[1], "too large")
		isData(t, got[2], "out of the range")
		if got := db.dump(t, "SELECT CONCAT(balance, ' ', small) FROM account"); got != "string:9999.90 3" {
			t.Error(got)
		}
	})
}

// Keys of other types, alone and together, are found again.
func TestTypedKeys(t *testing.T) {
	onSome(t, "sqlite", []string{"CREATE TABLE k (a DECIMAL(20,4), b DATE, c BIGINT, n BIGINT, UNIQUE (a, b, c))"}, func(t *testing.T, db *database) {
		columns := map[string]string{"a": "payload.a", "b": "payload.b", "c": "payload.c", "n": "payload.n"}
		key := []string{"a", "b", "c"}
		add := db.tables(t, effect.Table{Name: "k", Mode: effect.Add, Key: key, Columns: columns})
		m := func(a, b, c string) rollcall.Message { return body(`{"a":%s,"b":%q,"c":%s,"n":1}`, a, b, c) }
		ms := []rollcall.Message{m("1.5", "2026-01-01", "1"), m("1.50", "2026-01-01", "1"), m("9007199254740993.0001", "2026-01-01", "1"), m("9007199254740993.0002", "2026-01-01", "1")}
		for range 2 {
			wantOutcomes(t, db.apply(t, add, ms...), nil, nil, nil, nil)
		}
		sums := "SELECT n FROM k ORDER BY a"
		if got := db.dump(t, sums); got != "int64:4\nint64:2\nint64:2" {
			t.Error(got)
		}
		remove := db.tables(t, effect.Table{Name: "k", Mode: effect.Delete, Key: key, Columns: map[string]string{"a": "payload.a", "b": "payload.b", "c": "payload.c"}})
		wantOutcomes(t, db.apply(t, remove, ms[2]), nil)
		if got := db.dump(t, sums); got != "int64:4\nint64:2" {
			t.Error(got)
		}
	})
}

// A decimal alone is a key of its own, however near another one is.
func TestDecimalKey(t *testing.T) {
	onSome(t, "sqlite", []string{"CREATE TABLE k (a DECIMAL(30,4) PRIMARY KEY, n BIGINT)"}, func(t *testing.T, db *database) {
		set := db.tables(t, effect.Table{Name: "k", Mode: effect.Add, Key: []string{"a"}, Columns: map[string]string{"a": "payload.a", "n": "const:1"}})
		remove := db.tables(t, effect.Table{Name: "k", Mode: effect.Delete, Key: []string{"a"}, Columns: map[string]string{"a": "payload.a"}})
		var ms []rollcall.Message
		for i := range 4 {
			ms = append(ms, body(`{"a":"9007199254740993.000%d"}`, i))
		}
		wantOutcomes(t, db.apply(t, set, ms...), nil, nil, nil, nil)
		wantOutcomes(t, db.apply(t, set, ms[1:3]...), nil, nil)
		wantOutcomes(t, db.apply(t, remove, ms[:2]...), nil, nil)
		if got := db.dump(t, "SELECT n FROM k ORDER BY a"); got != "int64:2\nint64:1" {
			t.Error(got)
		}
	})
}

// The time of a message goes into every column of times, cut to its precision.
func TestTimeOfMessage(t *testing.T) {
	onSome(t, "sqlite", nil, func(t *testing.T, db *database) {
		column, want := "timestamptz(3)", "string:2026-01-02 02:04:05.123"
		if db.product != "postgres" {
			column = "DATETIME(3)"
		}
		db.exec(t, "CREATE TABLE v (id {key} PRIMARY KEY, at "+column+", ms BIGINT, words {text}, day DATE)")
		ts := db.tables(t, effect.Table{Name: "v", Mode: effect.Insert, Key: []string{"id"}, Columns: map[string]string{"id": "const:k", "at": "time", "ms": "time", "words": "time", "day": "time"}})
		m := rollcall.Message{Time: time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.FixedZone("x", 3600))}
		for _, want := range []error{nil, rollcall.Repeated} {
			if err := db.one(t, ts, m); err != want {
				t.Errorf("%v, want %v", err, want)
			}
		}
		at := "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')"
		if db.product != "postgres" {
			at = "CAST(at AS CHAR)"
		}
		if got := db.dump(t, "SELECT "+at+", ms, words FROM v"); got != want+" int64:1767319445123 string:2026-01-02T02:04:05.123456789Z" {
			t.Error(got)
		}
	})
}

// What the server would decide wrongly is refused at the start, by name and
// with the next step.
func TestRefusedOnServers(t *testing.T) {
	type refusal struct{ column, index, text string }
	cases := map[string][]refusal{
		"postgres": {
			{`text COLLATE "ci"`, "(id)", `index on (id) (ki) compares id by the collation ci, which does not compare binary`}, {"text", "(id) WHERE n > 0", "(ki) is partial"},
			{"char(5)", "(id)", "use text or varchar"}, {"text", "(lower(id))", "no unique index on (id)"}, {"double precision", "(id)", "a key is a whole number"}, {"inet", "(id)", "none that is written"},
		},
		"mysql": {
			{"VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci", "(id)", "(ki) compares id by utf8mb4_0900_ai_ci"},
			{"VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "(id)", "make the column VARBINARY, or COLLATE utf8mb4_0900_bin"},
			{"VARBINARY(50)", "(id(5))", "looks at the first 5 characters"}, {"DOUBLE", "(id)", "a key is a whole number"}, {"TIME", "(id)", "none that is written"}, {"FLOAT", "(id)", "use an integer, DECIMAL, DOUBLE"},
			{"DOUBLE(5,2)", "(id)", "rounds silently"}, {"CHAR(5) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin", "(id)", "is CHAR"},
		},
	}
	cases["mariadb"] = append([]refusal{{"VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "(id)", "compares id by utf8mb4_general_ci"}}, cases["mysql"][1:7]...)
	onSome(t, "sqlite", nil, func(t *testing.T, db *database) {
		if db.product == "postgres" {
			db.exec(t, "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
		}
		for _, c := range cases[db.product] {
			db.exec(t, "DROP TABLE IF EXISTS k", "CREATE TABLE k (id "+c.column+", n {int})", "CREATE UNIQUE INDEX ki ON k "+c.index)
			table := effect.Table{Name: "k", Mode: effect.Set, Key: []string{"id"}, Columns: map[string]string{"id": "payload.id", "n": "payload.n"}}
			if _, err := effect.NewTablesOn(t.Context(), db.c, db.d, []effect.Table{table}); !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s, index on %s: %v, want %q", c.column, c.index, err, c.text)
			}
		}
	})
}

// A session that is not strict, or in another character set, is refused; one
// that is no more strict later fails, before anything is committed.
func TestMySQLSessions(t *testing.T) {
	for _, spec := range []struct {
		spec *servers.Spec
		bin  string
	}{{servers.MySQL, "utf8mb4_0900_bin"}, {servers.MariaDB, "utf8mb4_nopad_bin"}} {
		table := effect.Table{Name: "orders", Mode: effect.Set, Key: []string{"order_id"}, Columns: orderColumns}
		for settings, text := range map[string]string{"sql_mode=''": "add STRICT_TRANS_TABLES to sql_mode", "charset=latin1": "set it to utf8mb4"} {
			db := openMySQL(t, spec.spec, effect.MySQL(mysqlNumber), spec.bin, settings)
			db.exec(t, ordersDDL)
			if _, err := effect.NewTablesOn(t.Context(), db.c, db.d, []effect.Table{table}); !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v", settings, err)
			}
		}
		for _, settings := range []string{"clientFoundRows=true", "interpolateParams=true", "parseTime=true&loc=America%2FNew_York", "clientFoundRows=true&interpolateParams=true"} {
			db := openMySQL(t, spec.spec, effect.MySQL(mysqlNumber), spec.bin, settings)
			db.exec(t, ordersDDL)
			ts := db.tables(t, table)
			m := body(`{"id":"a","amount":1}`)
			for range 2 {
				wantOutcomes(t, db.apply(t, ts, m, m), nil, nil)
			}
			tx := db.begin(t)
			_, err := tx.c.Exec(t.Context(), "SET SESSION sql_mode = ''")
			must(t, err)
			if err := tx.one(ts, m); !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), "not strict") {
				t.Errorf("%s: %v", settings, err)
			}
			_, err = tx.c.Exec(t.Context(), "SET SESSION sql_mode = 'STRICT_TRANS_TABLES'")
			must(t, errors.Join(err, tx.rollback()))
			db.exec(t, "CREATE TABLE typed (id {key} PRIMARY KEY, d DECIMAL(10,2), f DOUBLE, b VARBINARY(10), at DATETIME(6), day DATE)")
			list := effect.Table{Name: "typed", Mode: effect.Insert, Key: []string{"id"}, Columns: map[string]string{"id": "const:k", "d": "const:1.50", "f": "const:0.1", "b": "payload", "at": "time", "day": "time"}}
			ts = db.tables(t, list)
			m = rollcall.Message{Body: []byte("\x00\xff'\\"), Time: time.Date(2026, 7, 8, 3, 0, 0, 5000, time.UTC)}
			for _, want := range []error{nil, rollcall.Repeated} {
				if err := db.one(t, ts, m); err != want {
					t.Errorf("%s: %v, want %v", settings, err, want)
				}
			}
		}
	}
}

// Behind a pooler pgx must not prepare statements: effects run in every mode.
func TestPgxModes(t *testing.T) {
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(mode.String(), func(t *testing.T) {
			db := openPostgresIn(t, servers.Postgres18, mode)
			db.exec(t, "CREATE TABLE v (id text PRIMARY KEY, d numeric(10,2), b bytea, at timestamptz, j jsonb, note text)")
			columns := map[string]string{"id": "payload.id", "d": "payload.d", "b": "payload", "at": "time", "j": "payload.j", "note": "payload.note?"}
			m := body(`{"id":"{a,\"b\"}","d":1.50,"j":{"x":"'\\\\"},"note":null}`)
			m.Time = time.Now()
			for _, c := range []struct {
				mode  effect.Mode
				again error
			}{{effect.Insert, rollcall.Repeated}, {effect.Upsert, nil}, {effect.Delete, nil}} {
				ts := db.tables(t, effect.Table{Name: "v", Mode: c.mode, Key: []string{"id"}, Columns: columns})
				if c.mode != effect.Insert {
					wantOutcomes(t, db.apply(t, ts, m), nil)
					continue
				}
				wantOutcomes(t, db.apply(t, ts, m, m), nil, c.again)
				wantOutcomes(t, db.apply(t, ts, m), c.again)
			}
			if got := db.dump(t, "SELECT count(*) FROM v"); got != "int64:0" {
				t.Error(got)
			}
		})
	}
}
