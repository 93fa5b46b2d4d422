package pipeline

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/effect"
)

// Words and forms of fields, as the checks of this package take them.
var (
	fieldWords = map[string][]string{
		"Dedup.by":            strategies,
		"Kafka.protocol":      protocols,
		"KafkaSASL.mechanism": mechanisms,
		"RabbitMQ.type":       queueTypes,
		"Table.mode":          modes,
		"Version.rule":        {string(effect.RuleNewer), string(effect.RuleNext)},
	}
	fieldForms = map[string]string{
		"Kafka.topic":   `^[a-zA-Z0-9._-]{1,249}$`,
		"Kafka.brokers": `:[0-9]+$`,

		"RabbitMQ.addresses":        `:[0-9]+$`,
		"PublishRabbitMQ.addresses": `:[0-9]+$`,
		"RocketMQ.endpoints":        `:[0-9]+$`,
		"PublishRocketMQ.endpoints": `:[0-9]+$`,
		"RocketMQ.topic":            `^[%a-zA-Z0-9_-]{1,127}$`,
		"Dedup.key":                 `^(id|key|content|header\..+|payload\..+)$`,
		"Table.when":                `=`,
	}
)

// amount is one number with its unit in a time.
const amount = `([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)`

// node is a JSON Schema, or a part of one.
type node = map[string]any

// schemaBuilder makes the schema of the types of this package.
type schemaBuilder struct {
	comments map[string]string // "Type" and "Type.Field"
	defs     node
}

// buildSchema is the schema of File.
func buildSchema(t *testing.T) node {
	b := &schemaBuilder{comments: readComments(t), defs: node{
		"reference": node{"description": "A value from the environment or a file: ${VAR}, ${VAR:-default}, ${file:PATH}.",
			"type": "string", "pattern": `\$\{`},
		"duration": node{"description": "A time: 100ms, 30s, 1h30m, 14d.",
			"type": "string", "pattern": `^([0-9]+d(` + amount + `)*|(` + amount + `)+)$|\$\{`},
	}}
	out := b.structure(reflect.TypeFor[File]())
	out["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	out["title"] = "rollcall pipeline file"
	out["$defs"] = b.defs
	return out
}

// readComments takes the comments of types and fields from the source.
func readComments(t *testing.T) map[string]string {
	out := map[string]string{}
	for _, name := range []string{"file.go", "kafka.go", "tls.go", "rabbitmq.go", "rocketmq.go", "store.go", "table.go", "http.go", "redis.go", "publish.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, s := range g.Specs {
				spec := s.(*ast.TypeSpec)
				out[spec.Name.Name] = words(g.Doc)
				if st, ok := spec.Type.(*ast.StructType); ok {
					for _, f := range st.Fields.List {
						for _, n := range f.Names {
							out[spec.Name.Name+"."+n.Name] = words(f.Doc)
						}
					}
				}
			}
		}
	}
	return out
}

func words(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

func (b *schemaBuilder) structure(t reflect.Type) node {
	fields, names, required := fieldsOf(t)
	properties := node{}
	var choices []node
	for _, name := range names {
		f := fields[name]
		if f.Type == reflect.TypeFor[Later]() {
			properties[name] = later(f)
			continue
		}
		if f.Type.Kind() == reflect.Pointer {
			choices = append(choices, node{"required": []string{name}})
		}
		p := b.value(f.Type, t.Name()+"."+name)
		p["description"] = b.comments[t.Name()+"."+f.Name]
		properties[name] = p
	}
	out := node{"type": "object", "properties": properties, "additionalProperties": false, "description": b.comments[t.Name()]}
	if len(required) > 0 {
		out["required"] = required
	} else {
		out["type"] = []string{"object", "null"}
	}
	if strings.Contains(b.comments[t.Name()], "one of its fields") {
		out["oneOf"], out["type"] = choices, "object"
	}
	return out
}

// later is a field that nothing fits, and that says why.
func later(f reflect.StructField) node {
	why := f.Tag.Get("why")
	if why == "" {
		why = "is not in this version"
	}
	text := "It " + why + "."
	if next := f.Tag.Get("next"); next != "" {
		text += " Next: " + next + "."
	}
	return node{"not": node{}, "description": text}
}

func (b *schemaBuilder) value(t reflect.Type, field string) node {
	if t == reflect.TypeFor[time.Duration]() {
		duration := node{"$ref": "#/$defs/duration"}
		if field == "Embedded.retention" {
			return node{"anyOf": []node{duration, {"const": 0}}}
		}
		return duration
	}
	switch t.Kind() {
	case reflect.Pointer:
		return b.value(t.Elem(), field)
	case reflect.Struct:
		b.defs[t.Name()] = b.structure(t)
		return node{"$ref": "#/$defs/" + t.Name()}
	case reflect.Slice:
		item := b.value(t.Elem(), field)
		list := node{"type": []string{"array", "null"}, "items": item}
		if field == "File.effect" {
			list["type"], list["minItems"] = "array", 1
		}
		return node{"anyOf": []node{item, list}}
	case reflect.Map:
		return node{"type": "object", "additionalProperties": b.value(t.Elem(), field+".*")}
	case reflect.String:
		return scalarSchema(field)
	case reflect.Int:
		return node{"anyOf": []node{{"type": "integer", "minimum": 0, "maximum": 1<<31 - 1}, {"$ref": "#/$defs/reference"}}}
	case reflect.Int64:
		return node{"anyOf": []node{{"type": "integer", "minimum": 0}, {"$ref": "#/$defs/reference"}}}
	case reflect.Bool:
		return node{"anyOf": []node{{"type": "boolean"}, {"$ref": "#/$defs/reference"}}}
	}
	panic("no schema for " + t.String())
}

// scalarSchema: a number is taken as the text that stands there.
func scalarSchema(field string) node {
	if w, ok := fieldWords[field]; ok {
		return node{"anyOf": []node{{"enum": w}, {"$ref": "#/$defs/reference"}}}
	}
	if form, ok := fieldForms[field]; ok {
		return node{"type": "string", "pattern": form + `|\$\{`}
	}
	return node{"type": []string{"string", "number"}}
}
