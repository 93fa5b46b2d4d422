package rollcall_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The budgets: a reader should find each part in a small file, each step in a
// small function, and each contract on one screen.
const (
	functionP90  = 40
	functionMost = 100
	fileMedian   = 200
	fileMost     = 500
	methodsMost  = 8
)

// TestBudgets reads every Go file of the project; tests count for the largest
// file only.
func TestBudgets(t *testing.T) {
	set := token.NewFileSet()
	var files, functions []int
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		lines := set.Position(file.End()).Line
		if lines > fileMost {
			t.Errorf("%s has %d lines, at most %d", path, lines, fileMost)
		}
		if strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files = append(files, lines)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				size := set.Position(n.End()).Line - set.Position(n.Pos()).Line + 1
				functions = append(functions, size)
				if size > functionMost {
					t.Errorf("%s: %s has %d lines, at most %d", path, n.Name.Name, size, functionMost)
				}
			case *ast.InterfaceType:
				if n.Methods.NumFields() > methodsMost {
					t.Errorf("%s: an interface of %d methods, at most %d", set.Position(n.Pos()), n.Methods.NumFields(), methodsMost)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	slices.Sort(functions)
	if median := files[len(files)/2]; median > fileMedian {
		t.Errorf("the median file has %d lines, at most %d", median, fileMedian)
	}
	if p90 := functions[len(functions)*9/10]; p90 > functionP90 {
		t.Errorf("nine of ten functions have up to %d lines, at most %d", p90, functionP90)
	}
}
