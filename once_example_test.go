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

// A request that got no answer is not sent again to a receiver that does not
// honour the key: somebody asks it, and says what it did.
func ExampleRecord() {
	ctx := context.Background()
	claims := memory.Open(memory.NewDatabase(memory.Config{})).Claims()
	key := rollcall.OnceKey{Scope: "mails", Key: "welcome-ann"}
	send := func() (string, error) {
		return rollcall.Record(ctx, claims, key, rollcall.RecordConfig{}, func(context.Context, rollcall.RecordAttempt) (string, error) {
			fmt.Println("fn runs")
			return "", errors.New("no answer")
		})
	}
	_, err := send()
	fmt.Println(errors.Is(err, rollcall.ErrParked))
	_, err = send()
	fmt.Println(errors.Is(err, rollcall.ErrParked))
	fmt.Println(rollcall.SettleRecord(ctx, claims, key, rollcall.RecordConfig{}, "mail 1"))
	fmt.Println(send())
	// Output:
	// fn runs
	// true
	// true
	// <nil>
	// mail 1 <nil>
}
