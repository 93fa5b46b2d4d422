package pipeline

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/rollcall-mq/rollcall"
)

// Load reads and checks a pipeline file.
func Load(path string, env Env) (*File, error) {
	data, err := readMost(path, maxBytes)
	if errors.Is(err, errTooBig) {
		return nil, fmt.Errorf("%w: pipeline file %w\nnext: a pipeline file is some lines long; is it the right file?", rollcall.ErrConfig, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: pipeline file: %w\nnext: give its path, or write one with: rollcall init", rollcall.ErrConfig, err)
	}
	return Parse(path, data, env)
}

// Parse reads and checks the text of a pipeline file. path is where it stands,
// for errors and for the relative paths in it.
func Parse(path string, data []byte, env Env) (*File, error) {
	t := newText(path, data)
	root, err := parse(t, data)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, text: t, redactor: &Redactor{values: make(map[string]string)}, Audit: auditDefault}
	d := &decoder{text: t, env: env.withDefaults(filepath.Dir(path)), redactor: f.redactor, at: make(map[string]place)}
	d.file(root, f)
	f.at = d.at
	f.show()
	f.hide()
	if len(d.problems) > 0 {
		return nil, joined(d.problems)
	}
	f.defaults()
	if problems := f.check(); len(problems) > 0 {
		return nil, joined(problems)
	}
	return f, nil
}

// show lets addresses be printed though they came from a variable: whoever reads that
// one does not answer must see which.
func (f *File) show() {
	var all []string
	if k := f.Source.Kafka; k != nil {
		all = append(all, k.Brokers...)
	}
	if r := f.Source.RabbitMQ; r != nil {
		all = append(all, r.Addresses...)
	}
	if r := f.Source.RocketMQ; r != nil {
		all = append(all, r.Endpoints...)
	}
	for _, address := range all {
		delete(f.redactor.values, address)
	}
}

// hide keeps the passwords of DSNs out of what is printed from here on.
func (f *File) hide() {
	if p := f.Store.Postgres; p != nil {
		f.redactor.hide(p.DSN)
	}
	if m := f.Store.MySQL; m != nil {
		f.redactor.hide(m.DSN)
	}
	if k := f.Source.Kafka; k != nil && k.SASL != nil {
		f.redactor.hideWord(k.SASL.Password)
	}
	if r := f.Source.RabbitMQ; r != nil {
		f.redactor.hideWord(r.Password)
	}
	if r := f.Source.RocketMQ; r != nil {
		f.redactor.hideWord(r.SecretKey)
	}
	for _, p := range f.Publishes() {
		f.redactor.hideWord(p.secret())
	}
	for _, r := range f.RedisServers() {
		f.redactor.hideWord(r.Password)
	}
}

func (f *File) defaults() {
	if e := f.Source.Embedded; e != nil && e.Path == "" {
		e.Path = folderDefault
	}
}

// parse makes one tree of the text.
func parse(t *text, data []byte) (root ast.Node, err error) {
	tokens, err := tokenize(t, data)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = t.problem(place{}, yamlNext, "it cannot be read as YAML: %v", p)
		}
	}()
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxProblem(t, err)
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentGroupType {
			bodies = append(bodies, doc.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return nil, t.problem(place{}, "write one with: rollcall init", "it is empty")
	case 1:
		return bodies[0], nil
	}
	return nil, t.problem(nodePlace(bodies[1]), "a pipeline is one document; put the other into a file of its own", "a second document begins")
}

// yamlNext is the next step where the parser knows no place.
const yamlNext = "mend the YAML; compare it with what rollcall init writes"

// syntaxProblem turns an error of the parser into ours.
func syntaxProblem(t *text, err error) error {
	var e yaml.Error
	if !errors.As(err, &e) {
		return t.problem(place{}, yamlNext, "it cannot be read as YAML: %v", err)
	}
	at := placeOf(e.GetToken())
	what, next := e.GetMessage(), "mend the YAML here or on the line before"
	if at.line > 0 && at.line <= len(t.lines) && strings.Contains(t.lines[at.line-1], "${") {
		next = `quote values with references: "${VAR}"`
	}
	return t.problem(at, next, "%s", what)
}
