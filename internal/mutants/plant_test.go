package mutants

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// garden is the overlay of a program that holds many planted bugs beside the code as it
// is: compiling takes longer than most cases, so it is done once for all bugs of a kit.
// Every function that has bugs is there once more for each of them, and begins by asking
// which one is switched on; a variable with bugs gets another value when one is. With
// none, the program is as it is.
type garden struct {
	root  string
	files map[string]string // what they are instead, by their whole path
	alone []mutant          // within neither: each needs a program of its own
}

// switchEnv says which planted bug of a program is switched on: its place among the
// bugs it was made with, from 1.
const switchEnv = "ROLLCALL_PLANTED"

// switches is a file beside those of a package that have bugs.
const switches = `package %s

import "os"

var plantedBug = os.Getenv(%q)

func plantedValue[T any](healthy T, bug string, other T) T {
	if plantedBug == bug {
		return other
	}
	return healthy
}
`

// change of a text: the part between two offsets becomes another.
type change struct {
	from, to int
	text     string
}

// plant makes the overlay.
func plant(root string, bugs []mutant) (*garden, error) {
	g := &garden{root: root, files: make(map[string]string)}
	byFile := make(map[string][]int)
	for i, m := range bugs {
		byFile[m.file] = append(byFile[m.file], i)
	}
	for file, which := range byFile {
		if err := g.plantFile(file, bugs, which); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *garden) plantFile(file string, bugs []mutant, which []int) error {
	path := filepath.Join(g.root, file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, path, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	src := source{string(text), fset.File(tree.Pos())}
	cases, copies, values := make(map[*ast.FuncDecl]string), "", make(map[*ast.ValueSpec]string)
	for _, i := range which {
		m := bugs[i]
		if _, err := m.plant(src.text); err != nil {
			return err
		}
		f, v := src.function(tree, m), src.variable(tree, m)
		if f == nil && v == nil {
			g.alone = append(g.alone, m)
			continue
		}
		if v != nil {
			other := strings.Replace(src.part(v.Values[0]), m.old, m.new, 1)
			values[v] = fmt.Sprintf("plantedValue(%s, %q, %s)", cmp.Or(values[v], src.part(v.Values[0])), strconv.Itoa(i+1), other)
			continue
		}
		name := fmt.Sprintf("%sPlanted%d", f.Name.Name, i+1)
		cases[f] += fmt.Sprintf("\tcase %q:\n\t\t%s\n", strconv.Itoa(i+1), src.call(f, name))
		copies += "\n" + src.copy(f, name, m) + "\n"
	}
	if len(cases)+len(values) == 0 {
		return nil
	}
	var changes []change
	for f, switches := range cases {
		at := src.offset(f.Body.Lbrace) + 1
		changes = append(changes, change{at, at, "\n\tswitch plantedBug {\n" + switches + "\t}\n"})
	}
	for v, value := range values {
		changes = append(changes, change{src.offset(v.Values[0].Pos()), src.offset(v.Values[0].End()), value})
	}
	slices.SortFunc(changes, func(a, b change) int { return b.from - a.from }) // from behind: the offsets before it stay
	out := src.text
	for _, c := range changes {
		out = out[:c.from] + c.text + out[c.to:]
	}
	g.files[path] = out + copies
	g.files[filepath.Join(filepath.Dir(path), "planted_bug.go")] =
		fmt.Sprintf(switches, tree.Name.Name, switchEnv)
	return nil
}

// plant is a text with the bug in it.
func (m mutant) plant(text string) (string, error) {
	if n := strings.Count(text, m.old); n != 1 {
		return "", fmt.Errorf("%s has the text %d times, want once: the planted bug %q has to follow the code\n%s", m.file, n, m.name, m.old)
	}
	return strings.Replace(text, m.old, m.new, 1), nil
}

// source is a file's text, with the offsets of what was parsed.
type source struct {
	text string
	file *token.File
}

func (s source) offset(p token.Pos) int { return s.file.Offset(p) }

// part is the text of something.
func (s source) part(n ast.Node) string { return s.text[s.offset(n.Pos()):s.offset(n.End())] }

// function is the one that the bug lies in, if it can be there twice: nil, where the bug
// changes more than its body, where the parameters have no names to be handed on, or
// where it recovers, which only the function that was deferred can.
func (s source) function(tree *ast.File, m mutant) *ast.FuncDecl {
	from := strings.Index(s.text, m.old)
	for _, d := range tree.Decls {
		f, is := d.(*ast.FuncDecl)
		if !is || f.Body == nil || from >= s.offset(f.End()) || from+len(m.old) <= s.offset(f.Pos()) {
			continue
		}
		_, named := arguments(f)
		whole := from >= s.offset(f.Pos()) && from+len(m.old) <= s.offset(f.End())
		head := s.text[s.offset(f.Pos()):s.offset(f.Body.Lbrace)]
		planted := strings.Replace(s.part(f), m.old, m.new, 1)
		if !whole || !named || !strings.HasPrefix(planted, head) || strings.Contains(s.part(f), "recover()") {
			return nil
		}
		return f
	}
	return nil
}

// variable is the one of the package whose value has the bug in it, or nil.
func (s source) variable(tree *ast.File, m mutant) *ast.ValueSpec {
	from := strings.Index(s.text, m.old)
	for _, d := range tree.Decls {
		group, is := d.(*ast.GenDecl)
		if !is || group.Tok != token.VAR {
			continue
		}
		for _, spec := range group.Specs {
			v := spec.(*ast.ValueSpec)
			if len(v.Names) == 1 && len(v.Values) == 1 && from >= s.offset(v.Values[0].Pos()) && from+len(m.old) <= s.offset(v.Values[0].End()) {
				return v
			}
		}
	}
	return nil
}

// copy is the function under another name, with the bug.
func (s source) copy(f *ast.FuncDecl, name string, m mutant) string {
	planted := strings.Replace(s.part(f), m.old, m.new, 1)
	at := s.offset(f.Name.Pos()) - s.offset(f.Pos())
	return planted[:at] + name + planted[at+len(f.Name.Name):]
}

// call hands all on to the function of that name.
func (s source) call(f *ast.FuncDecl, name string) string {
	args, _ := arguments(f)
	if f.Recv != nil {
		name = f.Recv.List[0].Names[0].Name + "." + name
	}
	if f.Type.TypeParams != nil {
		var types []string
		for _, p := range f.Type.TypeParams.List {
			for _, n := range p.Names {
				types = append(types, n.Name)
			}
		}
		name += "[" + strings.Join(types, ", ") + "]"
	}
	call := name + "(" + strings.Join(args, ", ") + ")"
	if f.Type.Results == nil {
		return call + "\n\t\treturn"
	}
	return "return " + call
}

// arguments are the names of a function's parameters as a call hands them on, and
// whether all have one, the receiver too.
func arguments(f *ast.FuncDecl) (args []string, named bool) {
	fields := slices.Clone(f.Type.Params.List)
	if f.Recv != nil {
		fields = append(fields, f.Recv.List...)
	}
	for i, field := range fields {
		if len(field.Names) == 0 {
			return nil, false
		}
		for _, n := range field.Names {
			if n.Name == "_" {
				return nil, false
			}
			if i == len(f.Type.Params.List) { // the receiver
				continue
			}
			if _, rest := field.Type.(*ast.Ellipsis); rest {
				args = append(args, n.Name+"...")
			} else {
				args = append(args, n.Name)
			}
		}
	}
	return args, true
}
