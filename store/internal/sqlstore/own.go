package sqlstore

import (
	"errors"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
)

// ownError is the error of a statement of the store's own: no message is to
// blame for its waiting.
type ownError struct{ error }

func (e *ownError) Unwrap() error { return e.error }

// Own says where an error of a statement of the store's own happened, and what
// to do about it. nil, ErrFenced and one that says it already pass.
func Own(store, what, hint string, err error) error {
	if err == nil || IsOwn(err) || errors.Is(err, rollcall.ErrFenced) {
		return err
	}
	return &ownError{fmt.Errorf("%s: %s: %s%w", store, what, hint, err)}
}

// IsOwn reports whether an error is of a statement of the store's own.
func IsOwn(err error) bool {
	var own *ownError
	return errors.As(err, &own)
}
