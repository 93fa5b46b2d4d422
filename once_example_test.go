package rollcall_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/memory"
)

// The second call gets the first one's result; other content under the same key
// is refused.
func ExampleOnce() {
	ctx := context.Background()
	store := memory.Open(memory.NewDatabase(memory.Config{}))
	call := func(content string) (string, error) {
		tx, err := store.Begin(ctx)
		if err != nil {
			return "", err
		}
		defer func() { _ = tx.Rollback() }()
		key := rollcall.OnceKey{Scope: "mails", Key: "welcome-ann", Content: []byte(content)}
		sent, err := rollcall.Once(ctx, store.Results(tx.User()), key, func(ctx context.Context) (string, error) {
			fmt.Println("fn runs")
			return "mail 1", tx.User().Append(ctx, "mails", content)
		})
		if err != nil {
			return "", err
		}
		return sent, tx.Commit(ctx)
	}
	fmt.Println(call("hello"))
	fmt.Println(call("hello"))
	_, err := call("goodbye")
	fmt.Println(errors.Is(err, rollcall.ErrKeyReused))
	// Output:
	// fn runs
	// mail 1 <nil>
	// mail 1 <nil>
	// true
}
