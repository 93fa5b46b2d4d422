package rows

import (
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
)

// Claim is a row of claims.
type Claim struct {
	Group  string
	Key    []byte
	Token  int64
	Done   bool
	Until  int64 // end of the lease; of the window when done
	Result []byte
}

// Sum is the sum over the row.
func (r *Claim) Sum() int64 { return Sum(r.Group, r.Key, r.Token, r.Done, r.Until, r.Result) }

// Check compares the sum that was read.
func (r *Claim) Check(crc int64) error {
	if crc == r.Sum() {
		return nil
	}
	return fmt.Errorf("%w: the claim of key %x of %q does not match its sum: restore the store from a backup; nothing was changed",
		rollcall.ErrDamaged, r.Key, r.Group)
}

// Owned compares the token, and that there is something left to own: had is nil
// when nobody has the key.
func Owned(had *Claim, key rollcall.DedupKey, token rollcall.Token) error {
	switch {
	case had == nil:
		return fmt.Errorf("%w: key %x: token %d, nobody has the key", rollcall.ErrFenced, key, token)
	case rollcall.Token(had.Token) != token:
		return fmt.Errorf("%w: key %x: token %d, the key has %d", rollcall.ErrFenced, key, token, had.Token)
	case had.Done:
		return fmt.Errorf("%w: key %x: token %d, it is completed", rollcall.ErrFenced, key, token)
	}
	return nil
}

// Result is a row of first results of Once.
type Result struct {
	Scope        string
	Key, Content []byte
	Done         bool
	Result       []byte
}

// Sum is the sum over the row.
func (r *Result) Sum() int64 { return Sum(r.Scope, r.Key, r.Content, r.Done, r.Result) }

// Open checks the sum that was read.
func (r *Result) Open(crc int64) (out rollcall.Recorded, err error) {
	if crc != r.Sum() || len(r.Content) != len(out.Content) {
		return out, fmt.Errorf("%w: the result of key %x of %q does not match its sum: restore the store from a backup; nothing was run",
			rollcall.ErrDamaged, r.Key, r.Scope)
	}
	return rollcall.Recorded{Done: r.Done, Content: rollcall.Fingerprint(r.Content), Result: r.Result}, nil
}
