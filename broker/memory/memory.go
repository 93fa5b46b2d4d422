// Package memory is a broker in memory: the readable specification of the
// broker contract, and the fake that tests of an application can run against.
//
// It has the three shapes of the brokers in the field: exclusive partitions
// with positions (Kafka, the embedded log), exclusive partitions without
// (RabbitMQ with a single active consumer), and shared partitions with
// competing workers (quorum queues, RocketMQ).
package memory

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Shape is what partitions are like.
type Shape uint8

// The shapes.
const (
	Replayable Shape = iota // exclusive, with positions
	Exclusive               // exclusive, without positions
	Shared                  // competing workers, no positions
)

// Config is the settings of a Broker. The zero value is usable.
type Config struct {
	// Shape is what partitions are like. Default: Replayable.
	Shape Shape
	// Partitions is how many a destination gets. Default: 4, and 1 if Shared.
	Partitions int
	// MaxBytes is the largest message. Default: 1 MiB.
	MaxBytes int
}

// Broker is the server. It is safe for concurrent use.
type Broker struct {
	config Config

	mu           sync.Mutex
	changed      *sync.Cond // anything that a waiting Fetch should look at
	destinations map[string]*destination
	groups       map[groupKey]*group
	onPublish    func(destination string, messages []rollcall.Message) PublishFault
}

// PublishFault is what goes wrong with one Publish.
type PublishFault uint8

// The faults of a Publish.
const (
	NoFault   PublishFault = iota
	LoseReply              // stored, and the answer is lost
	LoseCall               // not stored, and the answer is lost
)

type destination struct {
	incarnation rollcall.Incarnation
	partitions  [][]record
	first       []int64 // by partition: what lies below was removed
}

type record struct {
	message rollcall.Message
	stored  time.Time
	marker  bool // never delivered: a transaction marker
}

// New starts a broker.
func New(config Config) *Broker {
	if config.Partitions == 0 {
		config.Partitions = 4
		if config.Shape == Shared {
			config.Partitions = 1
		}
	}
	if config.MaxBytes == 0 {
		config.MaxBytes = 1 << 20
	}
	b := &Broker{config: config, destinations: make(map[string]*destination), groups: make(map[groupKey]*group)}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// Capabilities says what this broker can do.
func (b *Broker) Capabilities() rollcall.Capabilities {
	return rollcall.Capabilities{
		Broker: "memory", Version: "1",
		Exclusive: b.config.Shape != Shared, Positions: b.config.Shape == Replayable,
		SettleConfirmed: true, SettleOne: b.config.Shape != Replayable, Ordered: true,
		MaxBytes: b.config.MaxBytes,
	}
}

// OnPublish sets what goes wrong with each Publish from now on; nil: nothing.
func (b *Broker) OnPublish(f func(destination string, messages []rollcall.Message) PublishFault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onPublish = f
}

// Marker appends an offset that is never delivered, as a transaction does.
func (b *Broker) Marker(name string, partition int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.destination(name)
	d.partitions[partition] = append(d.partitions[partition], record{marker: true, stored: time.Now()})
	b.changed.Broadcast()
}

// Remove removes what lies below an offset, as retention does.
func (b *Broker) Remove(name string, partition int32, below int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.destination(name)
	d.first[partition] = max(d.first[partition], min(below, int64(len(d.partitions[partition]))))
	clear(d.partitions[partition][:d.first[partition]])
}

// Recreate deletes a destination and creates it anew: another incarnation,
// offsets from 0.
func (b *Broker) Recreate(name string) {
	b.mu.Lock()
	delete(b.destinations, name)
	b.destination(name)
	b.mu.Unlock()
	b.rebalanceAll(name)
}

// Redeliver hands everything that the group was ever given over again, as a
// broker may that lost its offsets or acknowledgements.
func (b *Broker) Redeliver(groupName string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, g := range b.groups {
		if key.name() != groupName {
			continue
		}
		for _, p := range g.parts {
			p.again()
			for _, m := range g.members {
				if a := m.assigned[p.partition]; a != nil {
					a.next = 0
				}
			}
		}
	}
	b.changed.Broadcast()
}

// destination finds or creates; the caller holds the lock.
func (b *Broker) destination(name string) *destination {
	d := b.destinations[name]
	if d == nil {
		d = &destination{partitions: make([][]record, b.config.Partitions), first: make([]int64, b.config.Partitions)}
		_, _ = rand.Read(d.incarnation[:])
		b.destinations[name] = d
	}
	return d
}

// Sender returns the sending half.
func (b *Broker) Sender() *Sender { return &Sender{broker: b} }

// Sender implements rollcall.Sender.
type Sender struct{ broker *Broker }

// Capabilities implements rollcall.Sender.
func (s *Sender) Capabilities() rollcall.Capabilities { return s.broker.Capabilities() }

// Close implements rollcall.Sender.
func (s *Sender) Close(context.Context) error { return nil }

// Lanes implements rollcall.Sender: a lane is a partition.
func (s *Sender) Lanes(_ context.Context, name string) (rollcall.Lanes, error) {
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	return &lanes{count: int32(len(s.broker.destination(name).partitions))}, nil
}

type lanes struct {
	count int32
	turn  atomic.Uint32
}

func (l *lanes) Pick(m *rollcall.Message) int32 {
	if m.Key == "" {
		return int32(l.turn.Add(1) % uint32(l.count))
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(m.Key))
	return int32(h.Sum32() % uint32(l.count))
}

func (l *lanes) Name(lane int32) string { return fmt.Sprintf("partition-%d", lane) }

// Publish implements rollcall.Sender. A repeat is stored again.
func (s *Sender) Publish(ctx context.Context, name string, messages []rollcall.Message) []rollcall.PublishResult {
	b := s.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	results := make([]rollcall.PublishResult, len(messages))
	fault := NoFault
	if b.onPublish != nil {
		fault = b.onPublish(name, messages)
	}
	d, now := b.destination(name), time.Now()
	for i, m := range messages {
		switch {
		case ctx.Err() != nil:
			results[i].Err = ctx.Err()
		case m.Size() > b.config.MaxBytes:
			results[i] = rollcall.PublishResult{Fate: rollcall.Refused, Err: rollcall.ErrTooLarge}
		case fault == LoseCall:
			results[i].Err = errLost
		default:
			m.Destination = name
			offset := int64(len(d.partitions[m.Partition]))
			d.partitions[m.Partition] = append(d.partitions[m.Partition], record{message: m, stored: now})
			results[i] = rollcall.PublishResult{Fate: rollcall.Stored, Position: b.position(d, offset)}
			if fault == LoseReply {
				results[i] = rollcall.PublishResult{Err: errLost}
			}
		}
	}
	b.changed.Broadcast()
	return results
}

var errLost = fmt.Errorf("memory: the answer was lost")

func (b *Broker) position(d *destination, offset int64) rollcall.Position {
	if b.config.Shape != Replayable {
		return rollcall.Position{}
	}
	return rollcall.Position{Incarnation: d.incarnation, Offset: offset}
}

// groupKey is a group on a destination.
type groupKey string

func keyOf(groupName, dest string) groupKey {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(groupName)))
	return groupKey(string(n[:]) + groupName + dest)
}

func (k groupKey) name() string {
	n := binary.BigEndian.Uint32([]byte(k[:4]))
	return string(k[4 : 4+n])
}

// group is the members that share a destination.
type group struct {
	destination string
	rebalancing sync.Mutex // one rebalance at a time
	members     []*Subscription
	parts       map[rollcall.Partition]*groupPart
	sessions    uint64
}

func (b *Broker) rebalanceAll(dest string) {
	b.mu.Lock()
	var all []*group
	for _, g := range b.groups {
		if g.destination == dest {
			all = append(all, g)
		}
	}
	b.mu.Unlock()
	for _, g := range all {
		b.rebalance(g)
	}
}

// rebalance deals the partitions over the members. What moves is revoked
// first; only when that returns is it assigned.
func (b *Broker) rebalance(g *group) {
	if b.config.Shape == Shared {
		return
	}
	g.rebalancing.Lock()
	defer g.rebalancing.Unlock()
	b.mu.Lock()
	d := b.destination(g.destination)
	target := make(map[*Subscription][]rollcall.Assignment)
	for n := range d.partitions {
		if len(g.members) > 0 {
			m := g.members[n%len(g.members)]
			target[m] = append(target[m], rollcall.Assignment{
				Partition: rollcall.Partition{Destination: g.destination, Number: int32(n)}, Incarnation: b.position(d, 0).Incarnation})
		}
	}
	members := slices.Clone(g.members)
	b.mu.Unlock()

	var wait sync.WaitGroup
	for _, m := range members {
		if leaving := m.notIn(target[m]); len(leaving) > 0 {
			wait.Go(func() { m.revoke(leaving) })
		}
	}
	wait.Wait()
	for _, m := range members {
		if coming := m.without(target[m]); len(coming) > 0 {
			wait.Go(func() { m.assign(coming) })
		}
	}
	wait.Wait()
}

// Settled reports whether the group has settled all
// messages that are stored: what the broker knows of its progress.
func (b *Broker) Settled(groupName, dest string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.groups[keyOf(groupName, dest)]
	if g == nil {
		return false
	}
	d := b.destination(dest)
	for n, records := range d.partitions {
		gp := g.part(rollcall.Partition{Destination: dest, Number: int32(n)})
		for offset := d.first[n]; offset < int64(len(records)); offset++ {
			if !records[offset].marker && !gp.of(offset).acked {
				return false
			}
		}
	}
	return true
}

// Messages are all that is stored in a destination, partition by partition.
func (b *Broker) Messages(dest string) []rollcall.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []rollcall.Message
	d := b.destination(dest)
	for n, records := range d.partitions {
		for _, r := range records[d.first[n]:] {
			if !r.marker {
				out = append(out, r.message)
			}
		}
	}
	return out
}
