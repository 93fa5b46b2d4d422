package rollcall

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
)

// Edit replaces a row that is dead or parked, as List returned it, by a message
// with another body, and reports whether it did: of two at once, or after a
// redrive, only the first. The corrected message is another one: it has no stamp
// and an id of its own (see EditedID), keeps Key, headers and destination, waits
// and is due now, behind what waits of its Key already. Its DedupKey, by dedup, is
// claimed when it runs, like that of a new message; the one that the row owns is
// free. The row becomes discarded and is not counted: the corrected message is
// counted in its place. Its body stays in the operator log.
//
// ErrConfig when the corrected message has no DedupKey although dedup wants one,
// or nothing differs. After an error nothing was changed, unless it is ErrInDoubt.
func Edit[X any](ctx context.Context, store Store[X], group string, row Aside, body []byte, dedup DedupConfig, op Operation) (bool, error) {
	op = op.withDefaults()
	if bytes.Equal(body, row.Message.Body) {
		return false, configError("body", fmt.Sprintf("of row %d", row.ID), "it is the same as before: redrive the row; nothing was changed")
	}
	corrected, err := correct(group, &row, body, dedup, op)
	if err != nil {
		return false, err
	}
	n, err := turnAll(ctx, store, group, []Aside{row}, func(tx Tx[X], row Aside) (*OperatorEntry, error) {
		ok, err := tx.Asides().Turn(ctx, group, row.ID, []AsideState{AsideDead, AsideParked}, AsideChange{
			State: AsideDiscarded, Cause: fmt.Sprintf("edited: it is message %s now; before: %s", corrected.Message.ID, row.Cause),
			Attempts: row.Attempts, Due: op.Time, Updated: op.Time})
		if err != nil || !ok {
			return nil, err
		}
		if err := freeOwn(ctx, tx, group, &row); err != nil {
			return nil, err
		}
		put, err := tx.Asides().Put(ctx, group, []Aside{corrected})
		if err == nil && put != 1 {
			err = fmt.Errorf("rollcall: group %s already has a message %q with this body set aside: nothing was changed", group, corrected.Message.ID)
		}
		e := op.entry(OperatorEdit, &row, row.Message.Body)
		return &e, err
	})
	return n == 1, err
}

// editedSuffix is how the id of an edited message ends.
var editedSuffix = regexp.MustCompile(`-edit-[0-9]+$`)

// EditedID is the id of the message that replaces a row: the row's, and
// "-edit-N" with the number of the row, which is edited once.
func EditedID(row *Aside) MessageID {
	base := editedSuffix.ReplaceAllString(string(row.Message.ID), "")
	return MessageID(fmt.Sprintf("%s-edit-%d", base, row.ID))
}

// correct makes the row of the corrected message.
func correct(group string, row *Aside, body []byte, dedup DedupConfig, op Operation) (Aside, error) {
	m := row.Message
	m.ID, m.Body, m.Stamp, m.Headers = EditedID(row), body, Stamp{}, slices.Clone(m.Headers)
	m.Headers = slices.DeleteFunc(m.Headers, func(h Header) bool { return h.Name == StampHeader }) // of a stamp that could not be read
	for i := range m.Headers {
		if m.Headers[i].Name == IDHeader {
			m.Headers[i].Value = []byte(m.ID)
		}
	}
	r, err := newRecorder(group, ConsumerConfig{Dedup: dedup}.withDefaults().Dedup, Capabilities{Positions: true})
	if err != nil {
		return Aside{}, err
	}
	key, _, missing := r.dedupKey(&m)
	if missing != "" {
		return Aside{}, configError("dedup.key", fmt.Sprintf("%q", missing), fmt.Sprintf(
			"the corrected message of row %d has none or an empty one, and would go aside again; nothing was changed", row.ID))
	}
	return Aside{Identity: identify(&m, Position{}), State: AsideWaiting, Cause: fmt.Sprintf("edited; before: row %d, message %s", row.ID, row.Message.ID),
		DedupKey: key, Created: op.Time, Updated: op.Time, Due: op.Time, Message: m}, nil
}
