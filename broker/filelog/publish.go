package filelog

import (
	"context"
	"errors"
	"fmt"

	"github.com/rollcall-mq/rollcall"
)

// Sender is the sending half of the log. It is safe for concurrent use, and
// concurrent calls share one fsync.
type Sender struct{ log *Log }

var _ rollcall.Sender = (*Sender)(nil)

// Sender returns the sending half.
func (l *Log) Sender() *Sender { return &Sender{l} }

// Capabilities is what the log can do.
func (s *Sender) Capabilities() rollcall.Capabilities { return s.log.capabilities() }

// Close does nothing: the log is closed by its owner.
func (s *Sender) Close(context.Context) error { return nil }

// Publish stores messages, in order within each partition. Stored means synced
// to the disk, with the position. Refused is what can never be stored as it is:
// ErrTooLarge, ErrNoDestination, a partition that does not exist, a closed log.
// All else is Unknown and worth a repeat; the error says where it surely was
// not stored (disk full, write lock held), and is ErrInDoubt where it may be.
func (s *Sender) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	l := s.log
	results := make([]rollcall.PublishResult, len(messages))
	if l.isClosed() {
		return fill(results, rollcall.PublishResult{Fate: rollcall.Refused, Err: l.errClosed()})
	}
	r := l.newRequest(destination, messages, results)
	if len(r.entries) == 0 {
		return results
	}
	if err := ctx.Err(); err != nil {
		r.answerAll(results, rollcall.PublishResult{Err: fmt.Errorf("filelog: surely not stored: %w", err)})
		return results
	}
	if !l.queue.put(r) {
		r.answerAll(results, rollcall.PublishResult{Fate: rollcall.Refused, Err: l.errClosed()})
		return results
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if l.queue.remove(r) {
			r.answerAll(results, rollcall.PublishResult{Err: fmt.Errorf("filelog: %s: surely not stored, it still waited to be written: %w", l.path, context.Cause(ctx))})
			return results
		}
		select {
		case <-r.done:
		default: // the committer has it and goes on
			r.answerAll(results, rollcall.PublishResult{Err: fmt.Errorf("%w: filelog: %s: being written: %w", rollcall.ErrInDoubt, l.path, context.Cause(ctx))})
			return results
		}
	}
	for i, e := range r.entries {
		results[e.index] = r.answers[i]
	}
	return results
}

func fill(results []rollcall.PublishResult, with rollcall.PublishResult) []rollcall.PublishResult {
	for i := range results {
		results[i] = with
	}
	return results
}

const groupBytes = 16 << 20

// commitLoop writes what is queued, one transaction at a time: what comes while
// one is being synced shares the next.
func (l *Log) commitLoop() {
	for {
		select {
		case <-l.queue.more:
		case <-l.done:
			for _, r := range l.queue.close() {
				r.fail(rollcall.Unknown, l.errClosed())
				close(r.done)
			}
			return
		}
		if group := l.queue.take(groupBytes); len(group) > 0 {
			l.commitGroup(group)
			if err := l.trimSometimes(); err != nil {
				l.config.OnError(err)
			}
		}
	}
}

func (l *Log) commitGroup(group []*request) {
	err := l.writeGroup(group)
	if err != nil {
		if isCommit(err) && !errors.As(l.explain("publish", err), new(*fullError)) {
			err = fmt.Errorf("%w: %w", rollcall.ErrInDoubt, l.explain("publish", err))
		} else {
			err = fmt.Errorf("%w; nothing was stored", l.explain("publish", err))
		}
	}
	for _, r := range group {
		if err != nil {
			r.fail(rollcall.Unknown, err)
		}
		close(r.done)
	}
	if err == nil {
		l.changed.raise()
	}
}
