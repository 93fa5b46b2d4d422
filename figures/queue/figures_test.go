//go:build linux

package queue

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := servers.Close(); err != nil && code == 0 {
		panic(err)
	}
	os.Exit(code)
}

// payload is a body of 200 bytes.
func payload(i int) []byte { return fmt.Appendf(nil, "%-200d", i) }

// publishOurs sends n messages with ids of their own through a Publisher, and waits for
// the fate of each.
func publishOurs(b *testing.B, sender rollcall.Sender, destination string, n int) time.Duration {
	b.Helper()
	p := rollcall.NewPublisher(sender, rollcall.PublisherConfig{})
	messages := make([]rollcall.Message, n)
	for i := range messages {
		messages[i] = rollcall.Message{ID: rollcall.MessageID(fmt.Sprint(i)), Body: payload(i)}
	}
	began := time.Now()
	for i, r := range p.Publish(b.Context(), destination, messages...) {
		if r.Fate != rollcall.Stored {
			b.Fatalf("message %d: %v %v", i, r.Fate, r.Err)
		}
	}
	took := time.Since(began)
	if err := p.Close(context.WithoutCancel(b.Context())); err != nil {
		b.Fatal(err)
	}
	return took
}

// arrival ends a run when all messages took effect.
type arrival struct {
	want, seen int
	at         time.Time
	full       context.CancelFunc
}

// Observe counts.
func (a *arrival) Observe(e rollcall.Event) {
	if c, is := e.(rollcall.Committed); is {
		if a.seen += int(c.Counts.Applied); a.seen >= a.want && a.at.IsZero() {
			a.at = time.Now()
			a.full()
		}
	}
}

// rounds is how often both take turns.
const rounds = 5

// way is one comparison: both do n messages and say how long it took.
type way struct {
	name       string
	target     float64
	bare, ours func(round, n int) time.Duration
}

func (w way) measure(b *testing.B, n int) Figure {
	if only := os.Getenv("FIGURES_ONLY"); only != "" && !strings.Contains(w.name, only) { // for who looks at one
		return Figure{Name: w.name}
	}
	var bare, ours []float64
	for round := range rounds {
		x, y := w.bare(round, n), w.ours(round, n)
		bare, ours = append(bare, float64(n)/x.Seconds()), append(ours, float64(n)/y.Seconds())
		b.Logf("%s, round %d: bare %.0f/s, rollcall %.0f/s, %.0f %%", w.name, round+1, bare[round], ours[round], 100*ours[round]/bare[round])
	}
	return summed(w.name, w.target, bare, ours)
}

// messages of each round.
const messages = 30_000

// BenchmarkFigures measures everything once, whatever b.N: see the package comment.
func BenchmarkFigures(b *testing.B) {
	page := Page{Messages: messages, Rounds: rounds}
	r := openRabbit(b)
	page.Servers = append(page.Servers, "RabbitMQ "+r.cluster.Sender().Capabilities().Version, r.database())
	var queue string
	page.Figures = append(page.Figures,
		way{"RabbitMQ, quorum queue: publish with confirms and stamps", 0.85,
			func(_, n int) time.Duration { return r.publishBare(r.queue(), n, false) },
			func(_, n int) time.Duration { return r.publishOurs(r.queue(), n) }}.measure(b, messages),
		way{"the same, where the bare loop's messages carry a stamp and an id, too, and are mandatory: publish", 0.85,
			func(_, n int) time.Duration { return r.publishBare(r.queue(), n, true) },
			func(_, n int) time.Duration { return r.publishOurs(r.queue(), n) }}.measure(b, messages),
		way{"RabbitMQ: consume, Inbox in PostgreSQL, batches of 500", 0.75,
			func(_, n int) time.Duration { queue = r.filled(n); return r.consumeBare(queue, n) },
			func(_, n int) time.Duration { queue = r.filled(n); return r.consumeOurs(queue, n) }}.measure(b, messages))
	o := openRocket(b)
	page.Servers = append(page.Servers, "RocketMQ "+o.server.Version(b))
	page.Figures = append(page.Figures,
		way{"RocketMQ: send, batches of 32, 8 under way", 0.85,
			func(_, n int) time.Duration { return o.sendBare(o.topic(), n) },
			func(_, n int) time.Duration { return publishOurs(b, o.cluster.Sender(), o.topic(), n) }}.measure(b, messages),
		way{"RocketMQ: receive and acknowledge, nothing done", 0.85,
			func(_, n int) time.Duration { return o.receiveBare(o.filled(n), n) },
			func(_, n int) time.Duration { return o.receiveOurs(o.filled(n), n) }}.measure(b, messages))
	page.Notes = []string{
		"Eight processes on one quorum queue and one sender: each applied at least half of its equal share, and none was fenced: `go test -v -run TestQueueShared ./cmd/rollcall`.",
	}
	b.Logf("\n%s", page.Markdown())
	if os.Getenv("UPDATE") != "" {
		page.write(b)
	}
}
