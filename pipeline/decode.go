package pipeline

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder fills the types of this package from a tree, knows where everything
// stood, and collects mistakes instead of stopping at the first.
type decoder struct {
	text     *text
	env      Env
	redactor *Redactor
	at       map[string]place
	problems []*Error
}

const maxProblems = 10

func (d *decoder) problem(at place, next, format string, args ...any) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, d.text.problem(at, next, format, args...))
	}
}

func (d *decoder) file(root ast.Node, f *File) {
	d.structure(root, reflect.ValueOf(f).Elem(), "")
}

// value fills v, which may be any type of file.go.
func (d *decoder) value(n ast.Node, v reflect.Value, path string, field reflect.StructField) {
	if _, ok := d.at[path]; !ok {
		d.at[path] = nodePlace(n)
	}
	switch v.Interface().(type) {
	case Later:
		why := field.Tag.Get("why")
		if why == "" {
			why = "is not in this version"
		}
		d.problem(d.at[path], field.Tag.Get("next"), "%s %s", path, why)
		return
	case time.Duration:
		d.duration(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path, field)
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Slice:
		d.list(n, v, path, field)
	case reflect.Map:
		d.mapping(n, v, path, field)
	case reflect.String:
		if s, ok := d.scalar(n, path, "text"); ok {
			v.SetString(s)
		}
	case reflect.Int, reflect.Int64:
		d.number(n, v, path)
	case reflect.Bool:
		d.boolean(n, v, path)
	default:
		panic("pipeline: no decoding for " + v.Type().String()) // a field type of this package, found by its tests
	}
}

// entries are the pairs of a mapping.
func (d *decoder) entries(n ast.Node, path string) ([]*ast.MappingValueNode, bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	case *ast.NullNode:
		return nil, true
	}
	where := path
	if where == "" {
		where = "a pipeline file"
	}
	d.problem(nodePlace(n), "write fields, one a line: name: value", "%s must have fields, this is %s", where, kindOf(n))
	return nil, false
}

func (d *decoder) structure(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	fields, names, required := fieldsOf(v.Type())
	seen := make(map[string]bool)
	for _, e := range entries {
		name := e.Key.GetToken().Value
		field, known := fields[name]
		at := placeOf(e.Key.GetToken())
		switch {
		case !known:
			d.problem(at, didYouMean(name, names), "unknown field %q", name)
		case seen[name]:
			d.problem(at, "keep one of the two", "field %q stands there twice", name)
		default:
			full := join(path, name)
			d.at[full] = at
			d.value(e.Value, v.FieldByIndex(field.Index), full, field)
		}
		seen[name] = true
	}
	for _, name := range required {
		if !seen[name] {
			d.problem(d.at[path], nextFor(join(path, name)), "%s is missing", join(path, name))
		}
	}
}

const nextSet = "say what is set: set: {key: payload.sku, value: payload.price, number: payload.version}"

// requiredNext is what to write for the fields that cannot be left out.
var requiredNext = map[string]string{
	"name":                        "name the consumer group: name: billing",
	"source":                      "add: source: {embedded: {destination: orders}}",
	"store":                       "add: store: {sqlite: {path: shop.db}}",
	"effect":                      "add: effect: {table: {name: orders, mode: insert, columns: {id: payload.id}}}",
	"audit.side":                  "give it a name, or take the line out: _rollcall",
	"source.embedded.destination": "name the destination: destination: orders",
	"kafka.brokers":               nextBrokers,
	"kafka.topic":                 "name the topic: topic: orders",
	"rabbitmq.addresses":          nextAddresses,
	"rabbitmq.queue":              "name the queue: queue: orders",
	"bindings.exchange":           "name the exchange: exchange: shop",
	"rocketmq.endpoints":          nextEndpoints,
	"rocketmq.topic":              "name the topic: topic: orders",
	"dead_letters.keep":           "say how long: keep: 30d",
	"sasl.mechanism":              "say how: mechanism: SCRAM-SHA-512",
	"postgres.dsn":                nextPostgres,
	"mysql.dsn":                   nextMySQL,
	"http.url":                    "say where messages are posted: url: https://bank.example/pay",
	"redis.addr":                  "say where the server is: addr: 127.0.0.1:6379",
	"redis.set":                   nextSet,
	"publish.destination":         "say where the messages go: destination: orders-done",
	"set.key":                     nextSet,
	"set.value":                   nextSet,
	"set.number":                  nextSet,
	"table.name":                  "name the table: name: orders",
	"table.mode":                  "say how the row is written: mode: insert",
	"table.columns":               "say what goes into each column: columns: {id: payload.order_id}",
	"state.column":                "name the column: column: status",
	"state.allow":                 "say what may follow what: allow: {created: [paid], paid: [shipped]}",
	"version.column":              "name the column: column: version",
}

// listIndex is the number of an entry of a list.
var listIndex = regexp.MustCompile(`\[\d+\]`)

func nextFor(path string) string {
	if next, ok := requiredNext[path]; ok {
		return next
	}
	parts := strings.Split(listIndex.ReplaceAllString(path, ""), ".")
	return requiredNext[strings.Join(parts[max(0, len(parts)-2):], ".")]
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// fieldsOf are the fields of a type by their YAML names.
func fieldsOf(t reflect.Type) (fields map[string]reflect.StructField, names, required []string) {
	fields = make(map[string]reflect.StructField)
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" {
			continue
		}
		fields[name] = f
		names = append(names, name)
		if options == "required" {
			required = append(required, name)
		}
	}
	return fields, names, required
}

// list takes a list, or one item that stands for a list of one.
func (d *decoder) list(n ast.Node, v reflect.Value, path string, field reflect.StructField) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		if _, null := n.(*ast.NullNode); null {
			return
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.at[path+"[0]"] = d.at[path]
		d.value(n, item, path+"[0]", field)
		v.Set(reflect.Append(v, item))
		return
	}
	for i, n := range seq.Values {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(n, item, fmt.Sprintf("%s[%d]", path, i), field)
		v.Set(reflect.Append(v, item))
	}
}

func (d *decoder) mapping(n ast.Node, v reflect.Value, path string, field reflect.StructField) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries {
		name := e.Key.GetToken().Value
		at := placeOf(e.Key.GetToken())
		key := reflect.ValueOf(name)
		if v.MapIndex(key).IsValid() {
			d.problem(at, "keep one of the two", "%q stands there twice", name)
			continue
		}
		full := join(path, name)
		d.at[full] = at
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(e.Value, item, full, field)
		v.SetMapIndex(key, item)
	}
}

// scalar is the text of a value, references replaced.
func (d *decoder) scalar(n ast.Node, path, want string) (string, bool) {
	var s string
	switch n := n.(type) {
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		s = n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode:
		s = n.GetToken().Value // with the digits that stand there
	default:
		d.problem(nodePlace(n), wantNext[want], "%s must be %s, this is %s", path, want, kindOf(n))
		return "", false
	}
	out, err := expand(s, d.env, d.redactor)
	if err != nil {
		what, next := told(err)
		form := "%s: %s"
		if secretly.MatchString(path + ": x") { // what follows the colon is masked
			form = "%s cannot be read, %s"
		}
		d.problem(nodePlace(n), next, form, path, what)
		return "", false
	}
	return out, true
}

var wantNext = map[string]string{
	"text":             `write text; quote what YAML reads otherwise: "…"`,
	"a whole number":   "write digits, without quotes",
	"a time like 30s":  "write a number and ms, s, m, h or d: 100ms, 30s, 14d",
	"true or false":    "write true or false",
	"a list of values": "write [a, b]",
}

func (d *decoder) number(n ast.Node, v reflect.Value, path string) {
	const want = "a whole number"
	_, digits := n.(*ast.IntegerNode)
	s, ok := d.scalar(n, path, want)
	if !ok {
		return
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil || !digits && !hasReference(n) {
		d.problem(nodePlace(n), wantNext[want], "%s must be %s, this is %s", path, want, kindOf(n))
		return
	}
	if i < 0 || v.Kind() == reflect.Int && i > 1<<31-1 {
		d.problem(nodePlace(n), "use a number from 0 to 2147483647", "%s: %d is out of range", path, i)
		return
	}
	v.SetInt(i)
}

func (d *decoder) boolean(n ast.Node, v reflect.Value, path string) {
	const want = "true or false"
	if b, ok := n.(*ast.BoolNode); ok {
		v.SetBool(b.Value)
		return
	}
	if hasReference(n) {
		s, ok := d.scalar(n, path, want)
		if b, err := strconv.ParseBool(s); ok && err == nil {
			v.SetBool(b)
			return
		}
	}
	d.problem(nodePlace(n), wantNext[want], "%s must be %s, this is %s", path, want, kindOf(n))
}

func (d *decoder) duration(n ast.Node, v reflect.Value, path string) {
	const want = "a time like 30s"
	s, ok := d.scalar(n, path, want)
	if !ok {
		return
	}
	t, err := ParseDuration(s)
	if err != nil {
		d.problem(nodePlace(n), wantNext[want], "%s must be %s, this is %s", path, want, kindOf(n))
		return
	}
	if t < 0 || t == 0 && path != "source.embedded.retention" {
		d.problem(nodePlace(n), "use more than 0, or leave it out for the default", "%s must be more than 0", path)
		return
	}
	v.SetInt(int64(t))
}

// nodePlace is where a value begins.
func nodePlace(n ast.Node) place {
	switch n := n.(type) {
	case *ast.MappingValueNode:
		return placeOf(n.Key.GetToken())
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return placeOf(n.Values[0].Key.GetToken())
		}
	}
	return placeOf(n.GetToken())
}

func hasReference(n ast.Node) bool {
	s, ok := n.(*ast.StringNode)
	return ok && strings.Contains(s.Value, "${")
}

// kindOf names what stands there, as it was written: never what a reference
// was replaced by.
func kindOf(n ast.Node) string {
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a group of fields"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "empty"
	case *ast.StringNode:
		if tk := n.GetToken(); tk.Type == token.SingleQuoteType || tk.Type == token.DoubleQuoteType {
			return fmt.Sprintf("the text %q", short(n.Value))
		}
		return fmt.Sprintf("%q", short(n.Value))
	}
	return fmt.Sprintf("%q", short(n.GetToken().Value))
}

func short(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}
