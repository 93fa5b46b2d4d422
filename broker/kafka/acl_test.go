package kafka_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/store/memory"
	"github.com/twmb/franz-go/pkg/kadm"
)

// job is something that alice does: with just these rights it works, and with less the
// error names what is missing, soon.
type job struct {
	secure  *secure
	cluster *kafka.Cluster // as alice
	in, out string         // topics; there are 10 messages in the first
	group   string
	id      string // transactional
}

func (j *job) reads() right  { return onTopic(j.in, kadm.OpRead) }
func (j *job) writes() right { return onTopic(j.out, kadm.OpWrite) }

// TestACL: the table of rights in docs/kafka.md is enough, and nothing in it is too much.
func TestACL(t *testing.T) {
	k := newSecure(t)
	for _, c := range []struct {
		name   string
		do     func(*job, *testing.T, context.Context) error
		rights func(*job) []right
		lacks  []string // what the error names; none: it works
	}{
		{"sender", (*job).send, func(j *job) []right { return []right{j.writes()} }, nil},
		{"sender, no right", (*job).send, func(j *job) []right { return nil }, []string{"out-topic", "WRITE"}},
		{"sender, DESCRIBE only", (*job).send, func(j *job) []right { return []right{onTopic(j.out, kadm.OpDescribe)} }, []string{"out-topic", "WRITE"}},

		{"consumer", (*job).consume, func(j *job) []right { return []right{j.reads(), onGroup(j.group)} }, nil},
		{"consumer, KIP-848", (*job).consumeServer, func(j *job) []right { return []right{j.reads(), onGroup(j.group)} }, nil},
		{"consumer, no topic", (*job).consume, func(j *job) []right { return []right{onGroup(j.group)} }, []string{"in-topic", "READ"}},
		{"consumer, DESCRIBE only", (*job).consume, func(j *job) []right { return []right{onTopic(j.in, kadm.OpDescribe), onGroup(j.group)} }, []string{"in-topic", "READ"}},
		{"consumer, no group", (*job).consume, func(j *job) []right { return []right{j.reads()} }, []string{"group", "READ"}},
		{"consumer, KIP-848, no group", (*job).consumeServer, func(j *job) []right { return []right{j.reads()} }, []string{"group", "READ"}},

		{"tap", (*job).tap, func(j *job) []right { return []right{j.reads()} }, nil},
		{"tap, DESCRIBE only", (*job).tap, func(j *job) []right { return []right{onTopic(j.in, kadm.OpDescribe)} }, []string{"in-topic", "READ"}},
		{"books", (*job).keepBooks, func(j *job) []right {
			return []right{onTopic(j.books(), kadm.OpCreate), onTopic(j.books(), kadm.OpWrite)}
		}, nil},
		{"books, no CREATE", (*job).makeSide, func(j *job) []right { return []right{onTopic(j.books(), kadm.OpWrite)} }, []string{"CREATE", "kafka-topics.sh", "--partitions 1", "retention.ms"}},
		{"books, no WRITE", (*job).makeSide, func(j *job) []right { return []right{onTopic(j.books(), kadm.OpCreate)} }, []string{"WRITE"}},

		{"no store", (*job).plain, func(j *job) []right { return []right{j.reads(), onGroup(j.group)} }, nil},
		{"no store, no group", (*job).plain, func(j *job) []right { return []right{j.reads()} }, []string{"group", "READ"}},

		{"transformer", (*job).transform, func(j *job) []right { return []right{j.reads(), onGroup(j.group), j.writes(), onID(j.id)} }, nil},
		{"transformer, no group", (*job).transform, func(j *job) []right { return []right{j.reads(), j.writes(), onID(j.id)} }, []string{"group", "READ"}},
		{"transformer, no output", (*job).transform, func(j *job) []right { return []right{j.reads(), onGroup(j.group), onID(j.id)} }, []string{"out-topic", "WRITE"}},
		{"transformer, DESCRIBE output", (*job).transform, func(j *job) []right {
			return []right{j.reads(), onGroup(j.group), onID(j.id), onTopic(j.out, kadm.OpDescribe)}
		}, []string{"out-topic", "WRITE"}},
		{"transformer, no id", (*job).transform, func(j *job) []right { return []right{j.reads(), onGroup(j.group), j.writes()} }, []string{"transactional id", "WRITE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJob(t, k)
			k.grant(t, c.rights(j)...)
			ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
			defer cancel()
			began := time.Now()
			err := c.do(j, t, ctx)
			if len(c.lacks) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			words := slices.Clone(c.lacks)
			for i, w := range words {
				words[i] = map[string]string{"in-topic": j.in, "out-topic": j.out}[w]
				if words[i] == "" {
					words[i] = w
				}
			}
			wantWords(t, err, words...)
			t.Log(err)
			if took := time.Since(began); took > soon {
				t.Errorf("it took %v until this was told, want less than %v", took, soon)
			}
			if !errors.Is(err, rollcall.ErrConfig) {
				t.Errorf("%v: want ErrConfig, trying again does not help", err)
			}
		})
	}
}

// TestRightTaken: a right that is taken while the work goes on ends it, with its name.
func TestRightTaken(t *testing.T) {
	k := newSecure(t)
	for what, taken := range map[string]func(*job) right{"topic": (*job).reads, "group": func(j *job) right { return onGroup(j.group) }} {
		t.Run(what, func(t *testing.T) {
			j := newJob(t, k)
			k.grant(t, j.reads(), onGroup(j.group))
			r := subscribe(t, source(t, j.cluster, j.in), j.group)
			r.read(10)
			k.revoke(t, taken(j))
			var err error
			for deadline := time.Now().Add(patience); !errors.Is(err, rollcall.ErrConfig); {
				if time.Now().After(deadline) {
					t.Fatalf("waited %v for Fetch to end: %v", patience, err)
				}
				_, err = r.next()
			}
			wantWords(t, err, what, "READ")
			t.Log(err)
		})
	}
}

func newJob(t *testing.T, k *secure) *job {
	t.Helper()
	j := &job{secure: k, in: newTopic(t, k.admin, 2, nil), out: newTopic(t, k.admin, 2, nil)}
	j.group, j.id = "group-of-"+j.in, "id-of-"+j.in
	send(t, open(t, []string{k.Addr}), j.in, 10, 0)
	var err error
	j.cluster, err = k.open(t, k.SASL, kafka.Config{TLS: k.over(), SASL: kafka.SASL{Mechanism: "SCRAM-SHA-512", User: "alice", Password: k.Users["alice"]}})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (j *job) send(t *testing.T, ctx context.Context) error {
	p := rollcall.NewPublisher(j.cluster.Sender(), rollcall.PublisherConfig{})
	defer func() { _ = p.Close(ctx) }()
	r := p.Publish(ctx, j.out, rollcall.Message{Body: []byte("m")})[0]
	if (r.Fate == rollcall.Stored) != (r.Err == nil) || r.Fate == rollcall.Unknown {
		t.Errorf("fate %v with %v", r.Fate, r.Err)
	}
	return r.Err
}

func (j *job) consume(t *testing.T, ctx context.Context) error {
	return j.consumeAs(t, ctx, kafka.Cooperative)
}

func (j *job) consumeServer(t *testing.T, ctx context.Context) error {
	return j.consumeAs(t, ctx, kafka.Server)
}

func (j *job) consumeAs(t *testing.T, ctx context.Context, protocol kafka.Protocol) error {
	s, err := j.cluster.Source(ctx, j.in, kafka.SourceConfig{Protocol: protocol})
	if err != nil {
		return err
	}
	got, err := ledger(t, s, j.group, memory.NewDatabase(memory.Config{}), rollcall.ConsumerConfig{Observer: j.secure.said.observer()})
	if err == nil && !slices.Equal(got, bodies(0, 10)) {
		t.Errorf("%q took effect", got)
	}
	return err
}

// plain is without a store of rollcall's.
func (j *job) plain(t *testing.T, ctx context.Context) error {
	s, err := j.cluster.Source(ctx, j.in, kafka.SourceConfig{})
	if err != nil {
		return err
	}
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	n := 0
	err = s.Consume(ctx, j.group, kafka.PerBatch, func(_ context.Context, _ *kafka.Subscription, b rollcall.Batch) error {
		if n += len(b.Deliveries); n == 10 {
			enough()
		}
		return nil
	})
	if err == nil && n != 10 {
		t.Errorf("%d of 10 came", n)
	}
	return err
}

func (j *job) transform(t *testing.T, ctx context.Context) error {
	s, err := j.cluster.Source(ctx, j.in, kafka.SourceConfig{})
	if err != nil {
		return err
	}
	tf := s.Transformer(j.group, j.id, func(_ context.Context, m rollcall.Message) ([]rollcall.Message, error) {
		return []rollcall.Message{{Destination: j.out, Body: m.Body}}, nil
	}, kafka.TransformConfig{Redone: func(err error) { t.Logf("redone: %v", err) }})
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	done := make(chan error, 1)
	go func() { done <- tf.Run(ctx) }()
	for n := int64(0); n < 10; {
		select {
		case err := <-done:
			return err
		case <-time.After(50 * time.Millisecond):
		}
		ends, err := j.secure.admin.ListCommittedOffsets(context.WithoutCancel(ctx), j.out)
		if err != nil {
			t.Error(err)
			return nil
		}
		n = 0
		ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	}
	if got := committed(t, []string{j.secure.Addr}, j.out, 10); !slices.Equal(got, bodies(0, 10)) {
		t.Errorf("%q was committed", got)
	}
	enough()
	return <-done
}

// tap reads without a group.
func (j *job) tap(t *testing.T, ctx context.Context) error {
	s, err := j.cluster.Source(ctx, j.in, kafka.SourceConfig{})
	if err != nil {
		return err
	}
	p, err := s.Tap(ctx, time.Time{})
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	for n := 0; n < 10; {
		batches, err := p.Fetch(ctx, rollcall.FetchRequest{Max: 100, Min: 1, Wait: time.Second})
		if err != nil {
			return err
		}
		n += count(batches)
	}
	return nil
}

// books is a side destination that is not there.
func (j *job) books() string { return "books-of-" + j.in }

func (j *job) makeSide(_ *testing.T, ctx context.Context) error {
	return j.cluster.Sender().MakeSide(ctx, j.books())
}

func (j *job) keepBooks(t *testing.T, ctx context.Context) error {
	if err := j.makeSide(t, ctx); err != nil {
		return err
	}
	p := rollcall.NewPublisher(j.cluster.Sender(), rollcall.PublisherConfig{})
	defer func() { _ = p.Close(ctx) }()
	return p.Publish(ctx, j.books(), rollcall.Message{Body: []byte("m")})[0].Err
}
