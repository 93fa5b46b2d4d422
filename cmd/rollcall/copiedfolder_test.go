//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCopiedFolder: a sender's folder is copied, with all that it keeps, and both go on
// at the same time to one destination. Nothing in it makes the copy count its messages as
// the original does. Every message takes effect once; a file that both have is one file.
func TestCopiedFolder(t *testing.T) {
	brokers, original, topic := fakeKafka(t), t.TempDir(), "copied"
	if err := makeTopic(brokers, topic, 3); err != nil {
		t.Fatal(err)
	}
	writeFile(t, original, "rollcall.yaml", fmt.Sprintf(`
name: copied
source: {kafka: {brokers: [%q], topic: %s}}
store: {sqlite: {path: shop.db}}
effect: {table: {name: ledger, mode: insert, columns: {n: payload.n}}}
`, brokers, topic))
	lines := func(from, to int) string {
		var b strings.Builder
		for n := from; n < to; n++ {
			fmt.Fprintf(&b, "{\"n\": %d}\n", n)
		}
		return b.String()
	}
	db := openDB(t, "sqlite", "file:"+filepath.Join(original, "shop.db")+"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	execute(t, db, "CREATE TABLE ledger (n INTEGER NOT NULL)")
	writeFile(t, original, "before.ndjson", lines(0, 500))
	ran(t, original, "send", "before.ndjson")
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(original)); err != nil {
		t.Fatal(err)
	}
	// The same file again from the copy, and from each a file and a stream of its own, all
	// at once.
	writeFile(t, original, "after.ndjson", lines(500, 1000))
	writeFile(t, copied, "after.ndjson", lines(1000, 1500))
	for _, c := range []*child{
		start(t, copied, "send", "before.ndjson"),
		start(t, original, "send", "after.ndjson"), start(t, copied, "send", "after.ndjson"),
		startWith(t, original, strings.NewReader(lines(1500, 2000)), "send", "--format", "ndjson", "-"),
		startWith(t, copied, strings.NewReader(lines(2000, 2500)), "send", "--format", "ndjson", "-"),
	} {
		if code := c.wait(); code != 0 {
			t.Fatalf("%v: exit code %d\n%s%s", c.cmd.Args, code, c.out.String(), c.log.String())
		}
	}
	ran(t, original, "run", "--until-empty")
	if n, different := number(t, db, "SELECT count(*) FROM ledger"), number(t, db, "SELECT count(DISTINCT n) FROM ledger"); n != 2500 || different != 2500 {
		t.Errorf("%d effects of %d messages, want each of 2,500 once", n, different)
	}
}
