package rollcall_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rollcall-mq/rollcall"

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Doc        string
	Standard   bool
	Imports    []string
	Deps       []string
	Module     *struct{ Path, Version string }
}

func goList(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, stderr.String())
	}
	var pkgs []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// floor is one import rule: a package of the floor imports itself and what is
// listed, nothing else of this module, and of others only the clients named.
type floor struct {
	prefix  string // of the package's path within the module; "" is the root
	exact   bool
	ours    []string // prefixes of our packages that it may import
	clients []string // modules of others that it may import
	why     string
}

// floors, the most special first.
var floors = []floor{
	{prefix: "", exact: true, ours: []string{"internal/"}, clients: nil,
		why: "the root is contracts and engine: importing it must link no driver, no client, no dialect"},
	{prefix: "internal/dialect", ours: nil, why: "SQL text knows no domain word"},
	{prefix: "internal/protocol", ours: []string{"internal/interval"}, why: "the decision core is pure: no clock, no input or output, no driver, no message"},
	{prefix: "internal/programtest", ours: nil, why: "it runs programs, whatever they are"},
	{prefix: "internal/servers", ours: nil, why: "it runs servers, and asks them no more than whether they are ready: a client would be a driver's"},
	{prefix: "internal/mutants", ours: []string{"internal/servers"}, why: "it runs the go command on copies; it imports nothing of us but what starts the kits' servers"},
	{prefix: "internal/", ours: []string{"internal/"}, clients: []string{"github.com/tidwall/gjson", "github.com/google/uuid"},
		why: "mechanisms know no message: standard library and small, pure libraries"},
	{prefix: "broker/brokertest", ours: []string{"", "internal/failpoint", "store/memory"}, why: "the kit checks effects on the memory store"},
	{prefix: "store/storetest", ours: []string{"", "internal/failpoint", "broker/memory"}, why: "the kit checks effects on the memory broker"},
	{prefix: "broker/memory", ours: []string{""}, why: "a driver imports the root and its own client, never another driver"},
	{prefix: "broker/filelog", ours: []string{"", "internal/", "broker/filelog/"}, clients: []string{"modernc.org/sqlite", "github.com/gofrs/flock"},
		why: "a driver imports the root and its own client, never another driver"},
	{prefix: "broker/kafka", ours: []string{"", "internal/"}, clients: []string{"github.com/twmb/franz-go"},
		why: "a driver imports the root and its own client, never another driver"},
	{prefix: "broker/rocketmq", ours: []string{"", "internal/"}, clients: []string{"github.com/apache/rocketmq-clients/golang/v5", "google.golang.org/grpc", "google.golang.org/protobuf"},
		why: "a driver imports the root and its own client, never another driver; of that client only the stubs (TestStubsOnly)"},
	{prefix: "broker/rabbitmq", ours: []string{"", "internal/"}, clients: []string{"github.com/rabbitmq/amqp091-go"},
		why: "a driver imports the root and its own client, never another driver"},
	{prefix: "store/memory", ours: []string{""}, why: "a driver imports the root and its own client, never another driver"},
	{prefix: "store/internal/", ours: []string{"", "internal/", "store/internal/"}, why: "what the SQL stores share is no driver and links none"},
	{prefix: "store/crashtest", ours: []string{"", "internal/failpoint", "internal/servers"}, why: "the kit kills processes; log and store come from the driver's test"},
	{prefix: "store/postgres", ours: []string{"", "internal/", "store/internal/"}, clients: []string{"github.com/jackc/pgx/v5"},
		why: "a driver imports the root and its own client, never another driver"},
	{prefix: "store/sqlite", ours: []string{"", "internal/", "store/internal/"}, clients: []string{"modernc.org/sqlite", "github.com/gofrs/flock"},
		why: "a driver imports the root and its own client, never another driver"},
	{prefix: "store/redis", ours: []string{""}, clients: []string{"github.com/redis/go-redis/v9"},
		why: "a driver imports the root and its own client, never another driver"},
	{prefix: "store/mysql", ours: []string{"", "internal/", "store/internal/"}, clients: []string{"github.com/go-sql-driver/mysql"},
		why: "a driver imports the root and its own client, never another driver"},
	{prefix: "effect/pgxeffect", ours: []string{"effect"}, clients: []string{"github.com/jackc/pgx/v5"}, why: "it adapts pgx to effects, and does nothing else"},
	{prefix: "effect/redisset", ours: []string{""}, clients: []string{"github.com/redis/go-redis/v9"}, why: "a sender imports the root and its own client"},
	{prefix: "effect", ours: []string{"", "internal/"}, why: "effects are SQL text and values; the driver behind *sql.DB is the caller's"},
	{prefix: "id", ours: []string{"", "internal/"}, clients: []string{"modernc.org/sqlite", "github.com/google/uuid"},
		why: "ids need the root's clock and errors, and the client of their own file"},
	{prefix: "audit", ours: []string{"", "internal/interval"}, why: "verdicts are computed from records: it knows the contracts, and no driver"},
	{prefix: "embedded", ours: []string{"", "broker/filelog", "store/sqlite"}, why: "it puts just its two drivers together"},
	{prefix: "figures/server", ours: []string{"", "broker/memory", "broker/kafka", "store/postgres", "store/mysql", "store/redis", "effect", "effect/pgxeffect"},
		clients: []string{"github.com/jackc/pgx/v5", "github.com/redis/go-redis/v9", "github.com/go-sql-driver/mysql", "github.com/twmb/franz-go", "github.com/tidwall/gjson"},
		why:     "it measures the stores, Kafka before them, and the bare clients beside them"},
	{prefix: "figures", ours: []string{"", "broker/filelog", "store/sqlite", "embedded", "effect", "internal/"}, clients: []string{"modernc.org/sqlite"},
		why: "it measures the embedded pair, and the bare driver beside it"},
	{prefix: "examples/clicktwice", ours: []string{"", "store/postgres"}, clients: []string{"github.com/jackc/pgx/v5"}, why: "it is Once on a server"},
	{prefix: "examples/amqp", ours: []string{"", "store/sqlite"}, clients: []string{"github.com/rabbitmq/amqp091-go"}, why: "it is Once in a consumer of this client"},
	{prefix: "examples/sarama", ours: []string{"", "store/sqlite"}, clients: []string{"github.com/IBM/sarama"}, why: "it is Once in a consumer of this client"},
	{prefix: "examples", ours: []string{"", "broker/filelog", "store/sqlite", "embedded", "effect", "effect/httpsend"}, why: "examples use what a user would"},
	{prefix: "verify/model", ours: []string{"internal/protocol", "internal/interval"}, why: "the explorer runs the decision core, and nothing else of us"},
	{prefix: "scripts/sales", clients: []string{"modernc.org/sqlite"}, why: "a bookkeeper must not share code with what it checks"},
	{prefix: "pipeline/guarantee", ours: []string{"", "effect", "internal/"}, why: "promises are data and pure functions: no driver, no file, no connection"},
	{prefix: "pipeline", ours: []string{"", "effect", "effect/httpsend", "internal/"}, clients: []string{"github.com/goccy/go-yaml"},
		why: "the pipeline file names drivers, it never links one"},
	{prefix: "verify/history", ours: nil, why: "the history is written by clients outside the product: it knows nothing of it"},
	{prefix: "verify/fault", ours: []string{"verify/history"}, why: "faults hit processes, whatever runs in them: never a driver"},
	{prefix: "verify/specimen/kafkaqueue", ours: []string{"verify/specimen"}, clients: []string{"github.com/twmb/franz-go"},
		why: "the textbook's consumer is the client's own: it owes rollcall nothing"},
	{prefix: "verify/specimen/rabbitqueue", ours: []string{"verify/specimen"}, clients: []string{"github.com/rabbitmq/amqp091-go"},
		why: "the textbook's consumer is the client's own: it owes rollcall nothing"},
	{prefix: "verify/specimen/rocketqueue", ours: []string{"verify/specimen"},
		clients: []string{"github.com/apache/rocketmq-clients/golang/v5/protocol/v2", "google.golang.org/grpc", "google.golang.org/protobuf"},
		why:     "the textbook's consumer is on the protocol's stubs alone: it owes rollcall nothing"},
	{prefix: "verify/specimen/queuetest", ours: []string{"verify/specimen", "verify/fault", "internal/servers"}, clients: []string{"github.com/redis/go-redis/v9", "modernc.org/sqlite"},
		why: "the kit kills processes of the textbook patterns: it owes rollcall nothing, and the queue comes from its test"},
	{prefix: "verify/specimen", ours: []string{"verify/fault", "verify/model"}, why: "the textbook patterns owe rollcall nothing, and what may come of them is the model's word; wiring them to a log is the command's"},
	{prefix: "verify/check", ours: []string{"verify/fault", "verify/history"}, why: "the judge must not share code with what it judges"},
	{prefix: "verify/report", ours: []string{"verify/check", "verify/fault", "verify/history"}, why: "it shows verdicts and makes none"},
	{prefix: "cmd/rollcall", ours: []string{""}, clients: nil, why: "the command imports all; nothing imports it"},
}

func floorOf(path string) *floor {
	for i := range floors {
		f := &floors[i]
		if path == strings.TrimSuffix(f.prefix, "/") || !f.exact && strings.HasPrefix(path, strings.TrimSuffix(f.prefix, "/")+"/") {
			return f
		}
	}
	return nil
}

// TestFloors: a package imports below itself, never above, never a sibling
// unless said.
func TestFloors(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range goList(t, "./...") {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		f := floorOf(path)
		if f == nil {
			t.Errorf("%s stands on no floor: add it to floors with a reason", p.ImportPath)
			continue
		}
		seen[f.prefix] = true
		if path == "cmd/rollcall" || strings.HasPrefix(path, "cmd/rollcall/") {
			continue
		}
		for _, imported := range p.Imports {
			if !allowed(f, path, imported) {
				t.Errorf("%s imports %s: %s", p.ImportPath, imported, f.why)
			}
		}
	}
	for _, f := range floors {
		if !seen[f.prefix] {
			t.Errorf("floor %q has no package any more: take it off the list", f.prefix)
		}
	}
}

func allowed(f *floor, path, imported string) bool {
	if ours, is := strings.CutPrefix(imported, module); is {
		ours = strings.TrimPrefix(ours, "/")
		return strings.HasPrefix(ours, path+"/") && path != "" || slices.ContainsFunc(f.ours, func(prefix string) bool {
			return ours == strings.TrimSuffix(prefix, "/") || strings.HasSuffix(prefix, "/") && strings.HasPrefix(ours, prefix)
		})
	}
	standard := !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".")
	return standard || slices.ContainsFunc(f.clients, func(c string) bool { return imported == c || strings.HasPrefix(imported, c+"/") })
}

// TestRootLinksNoDriver builds a throw-away application that imports the root
// only and looks at what it links.
func TestRootLinksNoDriver(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module app\n\ngo 1.26.0\n\nrequire "+module+" v0.0.0\n\nreplace "+module+" => "+wd+"\n")
	write("main.go", "package main\n\nimport \""+module+"\"\n\nfunc main() { println(rollcall.NewLife().String()) }\n")
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	write("go.sum", string(sum))
	cmd := exec.Command("go", "list", "-mod=mod", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the application does not build: %v\n%s", err, out)
	}
	linked := slices.Compact(slices.Sorted(strings.FieldsSeq(string(out))))
	want := []string{"app", "github.com/google/uuid", module, "github.com/tidwall/gjson", "github.com/tidwall/match", "github.com/tidwall/pretty"}
	slices.Sort(want)
	if !slices.Equal(linked, want) {
		t.Fatalf("an application that imports the root links\n  %v\nwant\n  %v", linked, want)
	}
}

// TestDependencies compares what the command links with the committed list, so
// that a new dependency is seen in review. Write it anew with
// UPDATE=1 go test -run TestDependencies .
func TestDependencies(t *testing.T) {
	modules := make(map[string]bool)
	for _, p := range goList(t, "-deps", "./cmd/rollcall") {
		if p.Module != nil && p.Module.Path != module {
			modules[p.Module.Path+" "+p.Module.Version] = true
		}
	}
	var list []string
	for m := range modules {
		list = append(list, m)
	}
	slices.Sort(list)
	got := strings.Join(list, "\n") + "\n"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("deps.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("deps.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Fatalf("what the command links has changed; look at it, then UPDATE=1 go test -run TestDependencies .\n got:\n%s\nwant:\n%s", got, want)
	}
}

// TestPackageDocs: every package says what it is.
func TestPackageDocs(t *testing.T) {
	for _, p := range goList(t, "./...") {
		if p.Doc == "" && !strings.HasSuffix(p.ImportPath, "/figures") && !strings.HasSuffix(p.ImportPath, "/mutants") {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}
