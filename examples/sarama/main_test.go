package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// broker is Kafka in this process: one partition with the messages, which a
// group reads from the beginning each time, as if no offset was ever committed.
func broker(t *testing.T, messages ...string) *sarama.MockBroker {
	b := sarama.NewMockBroker(t, 1)
	fetch := sarama.NewMockFetchResponse(t, 1)
	for i, m := range messages {
		fetch.SetMessage("orders", 0, int64(i), sarama.StringEncoder(m))
	}
	fetch.SetHighWaterMark("orders", 0, int64(len(messages)))
	b.SetHandlerByMap(map[string]sarama.MockResponse{
		"MetadataRequest": sarama.NewMockMetadataResponse(t).SetBroker(b.Addr(), 1).SetLeader("orders", 0, 1),
		"OffsetRequest": sarama.NewMockOffsetResponse(t).SetOffset("orders", 0, sarama.OffsetOldest, 0).
			SetOffset("orders", 0, sarama.OffsetNewest, int64(len(messages))),
		"FindCoordinatorRequest": sarama.NewMockFindCoordinatorResponse(t).SetCoordinator(sarama.CoordinatorGroup, "shop", b),
		"HeartbeatRequest":       sarama.NewMockHeartbeatResponse(t),
		"JoinGroupRequest":       sarama.NewMockJoinGroupResponse(t).SetGroupProtocol(sarama.RangeBalanceStrategyName),
		"SyncGroupRequest": sarama.NewMockSyncGroupResponse(t).SetMemberAssignment(
			&sarama.ConsumerGroupMemberAssignment{Topics: map[string][]int32{"orders": {0}}}),
		"OffsetFetchRequest":  sarama.NewMockOffsetFetchResponse(t).SetOffset("shop", "orders", 0, -1, "", sarama.ErrNoError),
		"OffsetCommitRequest": sarama.NewMockOffsetCommitResponse(t),
		"LeaveGroupRequest":   sarama.NewMockLeaveGroupResponse(t),
		"FetchRequest":        fetch,
	})
	t.Cleanup(b.Close)
	return b
}

// watched is the shop between sarama and the test: it sees each mark, and how
// many sales another connection sees at that moment.
type watched struct {
	*shop
	mark func(offset int64)
}

func (w watched) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	return w.shop.ConsumeClaim(markedBy{session, w.mark}, claim)
}

type markedBy struct {
	sarama.ConsumerGroupSession
	mark func(offset int64)
}

func (m markedBy) MarkMessage(message *sarama.ConsumerMessage, metadata string) {
	m.mark(message.Offset)
	m.ConsumerGroupSession.MarkMessage(message, metadata)
}

// consume runs a session of the group, until it fails or the last of the three
// messages is marked. It returns how many sales there were at each mark.
func consume(t *testing.T, b *sarama.MockBroker, s, other *shop) (seen []int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	config := settings()
	config.ApiVersionsRequest, config.Version = false, sarama.V2_0_0_0 // what the mock speaks
	group, err := sarama.NewConsumerGroup([]string{b.Addr()}, "shop", config)
	if err != nil {
		t.Fatal(err)
	}
	err = group.Consume(ctx, []string{"orders"}, watched{s, func(offset int64) {
		seen = append(seen, sales(t, other))
		if offset == 2 {
			cancel()
		}
	}})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatal("waited 30s for the session to end")
	}
	if err := errors.Join(err, group.Close()); err != nil {
		t.Fatal(err)
	}
	return seen
}

func sales(t *testing.T, s *shop) (n int) {
	t.Helper()
	if err := s.store.DB().QueryRow(`SELECT count(*) FROM sale`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// two are the shop, and one that looks on from another connection.
func two(t *testing.T) (s, other *shop) {
	path := filepath.Join(t.TempDir(), "shop.db")
	var shops [2]*shop
	for i := range shops {
		s, err := open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.store.Close() })
		shops[i] = s
	}
	return shops[0], shops[1]
}

// TestTwice: the sender repeats an order, and the group reads all of it twice:
// each order is one sale, and its message is marked after its COMMIT.
func TestTwice(t *testing.T) {
	b := broker(t, `{"Number":"1","Cents":300}`, `{"Number":"1","Cents":300}`, `{"Number":"2","Cents":500}`)
	s, other := two(t)
	for _, want := range [][]int{{1, 1, 2}, {2, 2, 2}} {
		if seen := consume(t, b, s, other); !slices.Equal(seen, want) {
			t.Fatalf("sales at each mark %v, want %v", seen, want)
		}
	}
}

// TestFailure: what fails is not marked, and nothing behind it is: Kafka is told
// to go on there.
func TestFailure(t *testing.T) {
	b := broker(t, `{"Number":"1","Cents":300}`, `no order`, `{"Number":"2","Cents":500}`)
	s, other := two(t)
	if seen := consume(t, b, s, other); !slices.Equal(seen, []int{1}) || sales(t, other) != 1 {
		t.Fatalf("sales at each mark %v, in the end %d: want the first one alone", seen, sales(t, other))
	}
	committed := int64(-1)
	for _, r := range b.History() {
		if request, is := r.Request.(*sarama.OffsetCommitRequest); is {
			if offset, _, err := request.Offset("orders", 0); err == nil {
				committed = max(committed, offset)
			}
		}
	}
	if committed != 1 {
		t.Fatalf("committed offset %d, want 1", committed)
	}
}
