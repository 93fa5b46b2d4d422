package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/internal/dialect"
)

// Table is how one message becomes one row: effect.Table in YAML.
type Table struct {
	// Name is the table's; it must exist. Required.
	Name string `yaml:"name,required"`
	// Mode is how the row is written: insert, upsert, version, transition, set,
	// delete or add. Required.
	Mode string `yaml:"mode,required"`
	// Key lists the columns that name the row. Required but for insert.
	Key []string `yaml:"key"`
	// Columns says what goes into each column: payload, payload.PATH, id, key,
	// destination, header.NAME, time, const:TEXT. Required.
	Columns map[string]string `yaml:"columns,required"`
	// Update lists the columns that change in a row that is there. Default: all
	// of columns outside key.
	Update []string `yaml:"update"`
	// Decide names, for upsert into a table with several unique indexes, the
	// columns of the one that decides. Default: none.
	Decide []string `yaml:"decide"`
	// State is the state machine of mode transition.
	State *State `yaml:"state"`
	// Version is the version of mode version.
	Version *Version `yaml:"version"`
	// When restricts the entry: "payload.op=delete". Default: all messages.
	When string `yaml:"when"`
	// Approximate allows add on columns that hold floats. Default: false.
	Approximate bool `yaml:"approximate"`
}

// State is a state machine.
type State struct {
	// Column holds the state. Required.
	Column string `yaml:"column,required"`
	// Allow lists, for each state, those that may follow. Required.
	Allow map[string][]string `yaml:"allow,required"`
	// Initial lists the states that create the row. Default: those that follow
	// no other.
	Initial []string `yaml:"initial"`
}

// Version is the version of a row.
type Version struct {
	// Column holds the version. Required.
	Column string `yaml:"column,required"`
	// Rule is which version may follow: newer or next. Default: newer.
	Rule string `yaml:"rule"`
	// First is the version that creates the row under next. Default: 1.
	First int64 `yaml:"first"`
}

func (t *Table) effect() effect.Table {
	out := effect.Table{Name: t.Name, Mode: effect.Mode(t.Mode), Key: t.Key, Columns: t.Columns, Update: t.Update, Decide: t.Decide,
		When: t.When, Approximate: t.Approximate}
	if t.State != nil {
		out.State = effect.State{Column: t.State.Column, Allow: t.State.Allow, Initial: t.State.Initial}
	}
	if t.Version != nil {
		out.Version = effect.Version{Column: t.Version.Column, Rule: effect.Rule(t.Version.Rule), First: t.Version.First}
	}
	return out
}

// Tables are the table effects of the file.
func (f *File) Tables() []effect.Table {
	var out []effect.Table
	for i := range f.Effect { // tables stand before all others
		if t := f.Effect[i].Table; t != nil {
			out = append(out, t.effect())
		}
	}
	return out
}

// Build checks the effects against the catalogue of a database: a table or
// column that is not there is an Error with line and caret. Nothing is written.
// A file without table effects yields nil.
func (f *File) Build(ctx context.Context, c effect.Conn, d dialect.Dialect) (*effect.Tables, error) {
	tables := f.Tables()
	if len(tables) == 0 {
		return nil, nil
	}
	for i := range tables { // one by one first, to know which entry is meant
		if _, err := effect.NewTablesOn(ctx, c, d, tables[i:i+1]); err != nil {
			return nil, f.effectProblem(i, err)
		}
	}
	built, err := effect.NewTablesOn(ctx, c, d, tables)
	if err != nil {
		return nil, f.effectProblem(0, err)
	}
	return built, nil
}

// effectProblem puts the place in the file to an error of effect, which names
// table and field.
func (f *File) effectProblem(i int, err error) error {
	if !errors.Is(err, rollcall.ErrConfig) {
		return err
	}
	at := fmt.Sprintf("effect[%d].table", i)
	_, rest, ok := strings.Cut(err.Error(), "effect.table "+f.Effect[i].Table.Name+": ")
	field, what, found := strings.Cut(rest, ": ")
	if !ok || !found {
		what, next := told(err)
		return f.Problem(at, next, "%s", what)
	}
	at += "." + field
	if name := quoted(what); name != "" {
		if _, ok := f.at[at+"."+name]; ok {
			at += "." + name
		}
	}
	what, next := told(errors.New(what))
	return f.Problem(at, next, "%s: %s: %s", f.Effect[i].Table.Name, field, what)
}

// quoted is the first text in double quotes.
func quoted(s string) string {
	_, rest, _ := strings.Cut(s, `"`)
	name, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return ""
	}
	return name
}
