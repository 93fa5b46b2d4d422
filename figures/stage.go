package figures

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Stage is where a figure is measured: folders that go away, and an end when
// something fails. *testing.T is one.
type Stage interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	TempDir() string
	Cleanup(func())
	Context() context.Context
}

// hall is the Stage of the command. What fails unwinds to its end.
type hall struct {
	ctx     context.Context
	log     func(string)
	cleanup []func()
}

// failure is what unwinds.
type failure struct{ err error }

// on runs f on a stage of its own and cleans up after it.
func on(ctx context.Context, log func(string), f func(Stage)) (err error) {
	h := &hall{ctx: ctx, log: log}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p.err
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
		default:
			panic(p)
		}
		for _, c := range slices.Backward(h.cleanup) {
			c()
		}
	}()
	f(h)
	return context.Cause(ctx)
}

func (h *hall) Helper() {}

func (h *hall) Fatal(args ...any) {
	if err, ok := args[0].(error); ok && len(args) == 1 {
		panic(failure{err})
	}
	panic(failure{errors.New(fmt.Sprint(args...))})
}

func (h *hall) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }
func (h *hall) Logf(format string, args ...any)   { h.log(fmt.Sprintf(format, args...)) }
func (h *hall) Cleanup(f func())                  { h.cleanup = append(h.cleanup, f) }
func (h *hall) Context() context.Context          { return h.ctx }

func (h *hall) TempDir() string {
	dir, err := os.MkdirTemp("", "rollcall-bench")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) }) // what cannot be removed lies in the temporary folder
	return dir
}
