package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// TestMain makes the test binary the command as well: scripts and the tests
// with child processes run the real program.
func TestMain(m *testing.M) {
	programs := map[string]func(){"rollcall": main}
	maps.Copy(programs, storyTools)
	testscript.Main(cleaning{m}, programs)
}

// afterTests are done when all tests are.
var afterTests []func() error

type cleaning struct{ *testing.M }

func (c cleaning) Run() int {
	code := c.M.Run()
	for _, do := range afterTests {
		if err := do(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// raceExit: programs with the race detector wait a second before they end,
// unless they are told not to.
const raceExit = "atexit_sleep_ms=0"

func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	runScripts(t, map[string]string{"KAFKA": fakeKafka(t)}, scripts...)
}

// runScripts runs scripts with the addresses of brokers in variables.
func runScripts(t *testing.T, brokers map[string]string, scripts ...string) {
	testscript.Run(t, testscript.Params{
		Files:         scripts,
		UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", raceExit)
			for name, address := range brokers {
				env.Setenv(name, address)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sql":       scriptSQL,
			"repeat":    scriptRepeat,
			"bytes":     scriptBytes,
			"raise":     scriptRaise,
			"trim":      scriptTrim,
			"hint":      scriptHint,
			"topic":     scriptTopic,
			"trimtopic": scriptTrimTopic,
			"fails":     scriptFails,
			"capture":   scriptCapture,
			"replace":   scriptReplace,
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
	})
}

// sql FILE QUERY runs a query on a SQLite file and prints the rows.
func scriptSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql FILE QUERY")
	}
	ts.Check(withDB(ts.MkAbs(args[0]), func(db *sql.DB) error {
		return query(db, args[1], func(row string) { fmt.Fprintln(ts.Stdout(), row) })
	}))
}

func withDB(path string, do func(*sql.DB) error) error {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(20000)")
	if err != nil {
		return err
	}
	defer db.Close()
	return do(db)
}

func query(db *sql.DB, text string, row func(string)) error {
	rows, err := db.Query(text)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range into {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		texts := make([]string, len(values))
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				v = string(b)
			}
			texts[i] = fmt.Sprint(v)
		}
		row(strings.Join(texts, "|"))
	}
	return rows.Err()
}

// repeat FILE N TEXT appends TEXT N times; %d in it is the number.
func scriptRepeat(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: repeat FILE N TEXT")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b strings.Builder
	text := strings.ReplaceAll(args[2], `\n`, "\n")
	for i := range n {
		b.WriteString(strings.ReplaceAll(text, "%d", strconv.Itoa(i+1)))
	}
	appendTo(ts, args[0], b.String())
}

// bytes FILE TEXT appends TEXT with the escapes of a Go string.
func scriptBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bytes FILE TEXT")
	}
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(args[1], `"`, `\"`) + `"`)
	ts.Check(err)
	appendTo(ts, args[0], text)
}

func appendTo(ts *testscript.TestScript, name, text string) {
	f, err := os.OpenFile(ts.MkAbs(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	_, err = f.WriteString(text)
	ts.Check(err)
	ts.Check(f.Close())
}

// raise FOLDER DESTINATION N adds partitions.
func scriptRaise(ts *testscript.TestScript, neg bool, args []string) {
	withLog(ts, args[0], func(log *filelog.Log) error {
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		return log.Raise(context.Background(), args[1], n)
	})
}

// trim FOLDER DESTINATION PARTITION OFFSET is what retention does.
func scriptTrim(ts *testscript.TestScript, neg bool, args []string) {
	withLog(ts, args[0], func(log *filelog.Log) error {
		partition, err := strconv.ParseInt(args[2], 10, 32)
		ts.Check(err)
		offset, err := strconv.ParseInt(args[3], 10, 64)
		ts.Check(err)
		return log.TrimTo(context.Background(), args[1], int32(partition), offset)
	})
}

func withLog(ts *testscript.TestScript, folder string, do func(*filelog.Log) error) {
	log, err := filelog.Open(filepath.Join(ts.MkAbs(folder), "log.db"), filelog.Config{})
	ts.Check(err)
	err = do(log)
	ts.Check(log.Close())
	ts.Check(err)
}

// hint FILE DB runs the CREATE TABLE that a pipeline file has as a comment.
func scriptHint(ts *testscript.TestScript, neg bool, args []string) {
	for _, l := range strings.Split(ts.ReadFile(args[0]), "\n") {
		text := strings.TrimSpace(strings.TrimPrefix(l, "#"))
		if strings.HasPrefix(text, "CREATE TABLE") {
			ts.Check(withDB(ts.MkAbs(args[1]), func(db *sql.DB) error {
				_, err := db.Exec(text)
				return err
			}))
			return
		}
	}
	ts.Fatalf("%s has no CREATE TABLE as a comment", args[0])
}

// capture NAME PATTERN puts what the group of a pattern matches in the last stdout into
// a variable.
func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME PATTERN")
	}
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) < 2 {
		ts.Fatalf("stdout has no %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// replace FILE OLD NEW puts another text into a file, everywhere.
func scriptReplace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(text, args[1], args[2])), 0o600))
}

// fails CODE COMMAND... runs a command that must end with an exit code.
func scriptFails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("it ended with %v, want exit code %s", err, args[0])
	}
}
