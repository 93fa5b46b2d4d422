package rollcall

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall/internal/protocol"
)

// asidePoll is how often due rows are looked for.
const asidePoll = 100 * time.Millisecond

// workAsides works off due rows as one more source, until ctx ends: no broker
// round trip, nothing to lose in between.
func (e *engine[X]) workAsides(ctx context.Context) {
	for ctx.Err() == nil {
		rows, err := e.store.Asides().Due(ctx, e.group, e.config.Clock.Now(), 100)
		if err != nil && ctx.Err() == nil {
			e.observe(Paused{"aside rows", err, asidePoll})
		}
		for _, row := range rows {
			if ctx.Err() != nil {
				return
			}
			err = e.completeRow(e.work, &row)
			if errors.Is(err, ErrFenced) {
				err = e.retry(e.work, "acquire", func() error { return e.acquireOwn(e.work) })
			}
			if err != nil {
				break
			}
		}
		if len(rows) == 0 || err != nil {
			_ = e.config.Clock.Sleep(ctx, asidePoll) // the loop's own test ends it
		}
	}
}

// completeRow runs one due row until it is decided, here or by another worker.
func (e *engine[X]) completeRow(ctx context.Context, row *Aside) error {
	s := &subject{partition: Partition{row.Message.Destination, row.Message.Partition}, row: row,
		deliveries: []Delivery{{Message: row.Message, Position: row.Position}}, identities: []Identity{row.Identity}}
	w, err := e.transact(ctx, e.ownHold(), s, protocol.RowWork(e.rules(), rowItem(row), e.rowState(row)))
	if err == nil && w.Kind == protocol.OfRowAttempt {
		_, err = e.transact(ctx, e.ownHold(), s, w.Effect())
	}
	return notGone(err)
}

// notGone: another worker was faster, or our COMMIT in doubt had happened.
func notGone(err error) error {
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

func rowItem(row *Aside) protocol.Item {
	return protocol.Item{Identity: protocol.ID(row.Identity), Key: row.Message.Key,
		Dedup: protocol.ID(row.DedupKey), HasDedup: row.DedupKey != DedupKey{}}
}

func (e *engine[X]) rowState(row *Aside) protocol.Row {
	r := protocol.Row{ID: row.ID, Attempts: row.Attempts, Early: row.Early, OwnsKey: row.OwnsKey, Cause: row.Cause}
	if e.config.Clock.Now().Sub(row.Created) > e.config.Retry.Early {
		r.Late = fmt.Sprintf("too early for %v", e.config.Retry.Early)
	}
	return r
}
