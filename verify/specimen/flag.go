package specimen

import (
	"context"

	"github.com/rollcall-mq/rollcall/verify/fault"
)

// redeliveredFlag believes the flag that brokers put on a message: "it was delivered
// before, so it was handled, and only the acknowledgement was lost". It is no pattern of
// the demo's logs, which have no such flag.
var redeliveredFlag = Pattern{
	Name: "redelivered-flag", Idea: "skip what is marked as redelivered, work, acknowledge",
	Why:     "what comes again was handled, and only its acknowledgement was lost",
	Nearest: map[fault.Moment]fault.Moment{fault.AfterRecord: fault.AfterEffect},
	handle: func(ctx context.Context, w *Worker, m Message) error {
		if m.Redelivered {
			return w.Queue.Ack(ctx, m)
		}
		if err := w.work(ctx, m, nil); err != nil {
			return err
		}
		return w.ack(ctx, m)
	},
}

// OnQueues are the patterns that are shown on queues that hand over many messages at
// once and mark those that come again.
func OnQueues() []Pattern {
	return []Pattern{ackFirst, effectThenAck, redeliveredFlag, cacheCheck, setnxFirst}
}
