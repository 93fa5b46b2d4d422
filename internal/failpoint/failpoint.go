// Package failpoint lets a test stop, fail or observe a program between two
// steps. The hook travels in the context, so that tests in one process do not
// meet; without a hook a step costs one look-up in the context.
package failpoint

import "context"

// Hook is called at every step with its name and how many items are in work.
// What it returns is what the step returns: nil goes on.
type Hook func(ctx context.Context, step string, inWork int) error

type key struct{}

// With returns a context whose steps call hook.
func With(ctx context.Context, hook Hook) context.Context {
	return context.WithValue(ctx, key{}, hook)
}

// Hit is a step.
func Hit(ctx context.Context, step string, inWork int) error {
	if hook, ok := ctx.Value(key{}).(Hook); ok {
		return hook(ctx, step, inWork)
	}
	return nil
}
