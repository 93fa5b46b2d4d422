package rollcall

import "errors"

// noteFates of rows in the books. Refused is surely not stored only where the number
// was given out here: an earlier relay may have sent it without an answer.
func (r *Relay[X]) noteFates(rows []OutboxRow, results []PublishResult) {
	if r.books == nil || len(rows) == 0 {
		return
	}
	outcomes := make([]outcome, 0, len(rows))
	for i := range rows {
		var result PublishResult
		if i < len(results) {
			result = results[i]
		}
		if result.Fate == Unknown && errors.Is(result.Err, ErrTryAgain) {
			continue
		}
		m := &rows[i].Message
		outcomes = append(outcomes, outcome{m, bookFateOf(result.Fate, !r.books.gives(m.Stamp.Life)), result.Position})
	}
	r.books.note(rows[0].Message.Destination, outcomes)
}

// noteStamps that were not written, or nobody knows: the rows get others, or are sent
// with these by whoever finds them.
func (r *Relay[X]) noteStamps(fresh []OutboxRow, err error) {
	for i := range fresh {
		m := &fresh[i].Message
		r.books.note(m.Destination, []outcome{{m, bookFateOf(Refused, !errors.Is(err, ErrFenced)), Position{}}})
	}
}
