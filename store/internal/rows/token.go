package rows

import (
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
)

// HolderArgs are the values of a holder's primary key: group, worker,
// destination, number.
func HolderArgs(group string, h rollcall.Holder) []any {
	return []any{group, h.Worker, h.Partition.Destination, h.Partition.Number}
}

// Fence compares a token with the current one, which the locking read found or
// did not.
func Fence(hold rollcall.Hold, current int64, found bool) error {
	switch {
	case !found:
		return fmt.Errorf("%w: %s of group %q holds token %d, the store knows no token of it any more",
			rollcall.ErrFenced, holderName(hold.Holder), hold.Group, hold.Token)
	case rollcall.Token(current) != hold.Token:
		return fmt.Errorf("%w: %s of group %q holds token %d, the current one is %d",
			rollcall.ErrFenced, holderName(hold.Holder), hold.Group, hold.Token, current)
	}
	return nil
}

func holderName(h rollcall.Holder) string {
	if h.Worker != "" {
		return fmt.Sprintf("worker %q", h.Worker)
	}
	return fmt.Sprintf("partition %d of %q", h.Partition.Number, h.Partition.Destination)
}
