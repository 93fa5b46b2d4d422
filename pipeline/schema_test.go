package pipeline

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestSchema compares schema.json with the types and comments of this package.
// UPDATE=1 writes it.
func TestSchema(t *testing.T) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(buildSchema(t)); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("schema.json", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		schema = b.Bytes()
	}
	if !bytes.Equal(b.Bytes(), Schema()) {
		t.Fatal("schema.json is not what the types say: UPDATE=1 go test -run TestSchema ./pipeline")
	}
	var described func(path string, v any)
	described = func(path string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			return
		}
		for name, p := range m {
			described(path+"/"+name, p)
			if properties, ok := p.(map[string]any); ok && name == "properties" {
				for field, p := range properties {
					if p.(map[string]any)["description"] == "" {
						t.Errorf("%s/%s has no description: give the field a comment", path, field)
					}
				}
			}
		}
	}
	var v any
	if err := json.Unmarshal(b.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	described("", v)
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("pipeline.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("pipeline.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fits says what the schema has against a text.
func fits(s *jsonschema.Schema, text string) error {
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

// onlyParse are mistakes that a schema cannot see, because they lie in the text
// or between two fields.
var onlyParse = []string{"dead letters kept for too short", "references", "a reference is no structure", "key that is not used", "window", "add without a record",
	"a cycle without a record", "identifiers", "secrets in names, checked", "a machine with a cycle and no record",
	"a window shorter than how late a message can come", "the retention longer than the window, by default",
	"a key that is no column", "a mode without its key", "decide another index than key", "a machine without a first state", "one table twice", "publish to Kafka",
	"stores that name no server", "a url for mysql", "no database for mysql",
	"kafka names no broker", "plain without tls", "scram without a password", "a token and a password", "a token for scram", "oauthbearer without a token",
	"a certificate without its key", "a key without its certificate", "audit in the messages' own destination", "audit without a name",
	"rabbitmq stream and queue mixed up", "rabbitmq that would throw away", "position and a queue", "set and nothing recorded, on a queue"}

// TestSchemaRefuses: what Parse refuses, the schema refuses, where it can.
func TestSchemaRefuses(t *testing.T) {
	s := compiledSchema(t)
	data, err := os.ReadFile("testdata/problems.txt")
	if err != nil {
		t.Fatal(err)
	}
	refused, missed := 0, []string{}
	for _, c := range strings.Split("\n"+string(data), "\n=== ")[1:] {
		name, rest, _ := strings.Cut(c, "\n")
		text, _, _ := strings.Cut(rest+"\n", "--- want\n")
		if fits(s, text) != nil {
			refused++
		} else {
			missed = append(missed, name)
		}
	}
	if got, want := strings.Join(missed, "\n"), strings.Join(onlyParse, "\n"); got != want {
		t.Errorf("%d are refused; the schema takes\n%s\nwant\n%s", refused, got, want)
	}
}

// TestSchemaRefusesOne: a good file with one mistake.
func TestSchemaRefusesOne(t *testing.T) {
	s := compiledSchema(t)
	for _, c := range [][2]string{
		{"mode: add", "mode: ad"}, {"mode: add", "mode: [add]"}, {"destination: orders", "destinaton: orders"},
		{"destination: orders", "destination: orders, retention: 7"}, {"destination: orders", "destination: orders, retention: soon"},
		{"destination: orders", "destination: orders, partitions: -1"}, {"destination: orders", "destination: orders, partitions: many"},
		{"destination: orders", "destination: true"}, {"sqlite:", "redis:"}, {"sqlite:", "postgres:"}, {"embedded:", "rabbitmq:"}, {"embedded:", "kafka:"},
		{"name: billing", "nam: billing"}, {"name: billing", "name: [billing]"}, {"key: [payload.order_id]", "by: lock"},
		{"key: [payload.order_id]", "key: [order_id]"}, {"effect: {table:", "effect: {http:"},
	} {
		text := strings.Replace(shortest5, c[0], c[1], 1)
		if text == shortest5 {
			t.Fatalf("%s is not in the example", c[0])
		}
		if fits(s, text) == nil {
			t.Errorf("%s is taken", c[1])
		}
		if _, err := Parse("rollcall.yaml", []byte(text), testEnv()); err == nil {
			t.Errorf("%s is taken by Parse", c[1])
		}
	}
}

// TestSchemaTakes: every pipeline file of the tree that Parse takes fits.
func TestSchemaTakes(t *testing.T) {
	s := compiledSchema(t)
	taken := 0
	try := func(where, text string) {
		_, err := Parse("rollcall.yaml", []byte(text), testEnv())
		bad := fits(s, text)
		if err != nil {
			return
		}
		taken++
		if bad != nil {
			t.Errorf("%s: Parse takes it, the schema does not: %v\n%s", where, bad, text)
		}
	}
	for where, text := range examples(t) {
		try(where, text)
	}
	for _, change := range []string{"retention: 0", "retention: 7d", `partitions: "${N}"`, "partitions: 3"} {
		try(change, strings.Replace(shortest5, "destination: orders", "destination: orders, "+change, 1))
	}
	if taken < 15 {
		t.Errorf("%d files were taken: the examples are not found any more", taken)
	}
}

// examples are the pipeline files of the tree: in documents, scripts and as
// files of their own.
func examples(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{"shortest": shortest5}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		switch filepath.Ext(path) {
		case ".yaml", ".yml":
			out[path] = string(data)
		case ".txtar":
			for i, part := range strings.Split(string(data), "\n-- ")[1:] {
				name, text, _ := strings.Cut(part, " --\n")
				out[path+" "+name+" "+string(rune('a'+i))] = text + "\n"
			}
		case ".md", ".txt":
			out[path] = string(data)
			for i, part := range strings.Split(string(data), "```yaml\n")[1:] {
				text, _, _ := strings.Cut(part, "```")
				out[path+" "+string(rune('a'+i))] = text
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
