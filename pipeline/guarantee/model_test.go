package guarantee

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/verify/model"
)

// modelColumns are the faults that the model explores.
var modelColumns = map[string]string{
	"worker killed":                "crash",
	"reply to COMMIT lost":         "reply lost",
	"worker paused past its lease": "pause, lease out",
	"rebalance":                    "pause",
	"delivery repeated, ack lost":  "ack lost",
	"sender retries (same stamp)":  "sent again",
	"sender restarts, own ids":     "same id, new number",
	"cache or lock loses memory":   "cache lost",
}

// TestModel: where the model finds that a message is doubled, the report does
// not say once or absorbed, and what is refused is refused for that.
func TestModel(t *testing.T) {
	m := model.Load()
	add := []effect.Table{{Name: "t", Mode: effect.Add, Key: []string{"id"}}} // as the model's effect: a repeat shows
	compared := 0
	for _, broker := range Brokers() {
		for _, by := range []rollcall.Strategy{rollcall.ByAuto, rollcall.ByStamp, rollcall.ByPosition, rollcall.ByKey, rollcall.ByNone} {
			s := Setup{Broker: broker, Store: SQLite, By: []rollcall.Strategy{by}, Tables: add}
			row := "rollcall " + string(by) + " on " + broker.Shape()
			for _, l := range s.Report().Lines {
				column, ok := modelColumns[l.Fault]
				if !ok {
					continue
				}
				lost, doubled, explored := m.May(row, column)
				if !explored {
					if by != rollcall.ByPosition || broker.Positions {
						t.Errorf("the model has no row %q", row)
					}
					continue
				}
				compared++
				switch {
				case lost:
					t.Errorf("%s, %s: the model loses", row, column)
				case doubled && l.Outcome != Twice:
					t.Errorf("%s, %s: the model doubles, check says %s", row, column, l.Outcome)
				case !doubled && by != rollcall.ByNone && !l.Outcome.Holds():
					t.Errorf("%s, %s: the model holds, check says %s", row, column, l.Outcome)
				}
			}
		}
	}
	if compared < 5*4*len(modelColumns) {
		t.Errorf("%d cells were compared", compared)
	}
}

// TestShown: what the report names as its witness is there.
func TestShown(t *testing.T) {
	tests := testNames(t)
	pages := map[string]string{"case": "../../docs/kit-cases.md"}
	m := model.Load()
	witnesses := slices.Concat(faults, httpFaults, redisFaults, publishFaults)
	for broker, shown := range brokerShown {
		for name, by := range shown {
			if !slices.ContainsFunc(faults, func(f fault) bool { return f.name == name }) {
				t.Errorf("%s: there is no fault %q", broker, name)
			}
			witnesses = append(witnesses, fault{name: name + " on " + broker, shown: by})
		}
	}
	for _, f := range witnesses {
		kind, name, prefixed := strings.Cut(f.shown, " ")
		found := f.shown == ""
		switch {
		case f.shown == "":
		case !prefixed:
			found = tests[f.shown]
		case kind == "case":
			text, err := os.ReadFile(pages["case"])
			found = err == nil && strings.Contains(string(text), "\n- "+name+"\n")
		case kind == "script":
			_, err := os.Stat("../../cmd/rollcall/testdata/script/" + name + ".txtar")
			found = err == nil
		case kind == "model":
			_, _, found = m.May("rollcall auto on X", name)
			found = found && strings.Contains(strings.Join(m.Columns, "\n")+"\n", name+"\n")
		case kind == "scenario":
			for _, s := range model.Scenarios() {
				found = found || s.Name == name
			}
		}
		if !found {
			t.Errorf("%s is shown by %q, which is not there", f.name, f.shown)
		}
	}
	for name, by := range serverShown {
		known := slices.ContainsFunc(slices.Concat(faults, httpFaults, redisFaults, publishFaults), func(f fault) bool {
			return f.name == name && f.shownWith(Embedded, Postgres) == by && f.shownWith(Embedded, SQLite) == f.shown
		})
		if !known || !tests[by] {
			t.Errorf("%s is shown by %q with servers: one of them is not there", name, by)
		}
	}
}

// testNames are the test functions of the project.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			out[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
