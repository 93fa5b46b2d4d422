package filelog

import (
	"slices"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/slab"
)

// The vectors of Kafka's own test of its default partitioner.
func TestMurmur2IsKafkas(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2(key)); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestFairSharesAddUp(t *testing.T) {
	for members := 1; members <= 9; members++ {
		var peers []peer
		for i := range members {
			peers = append(peers, peer{string(rune('a' + i)), []string{"d", "e"}})
		}
		peers = append(peers, peer{"x", []string{"other"}})
		for total := range 20 {
			sum, least, most := 0, total, 0
			for _, p := range peers {
				share := fairShare(peers, "d", p.uid, total)
				if p.uid == "x" {
					if share != 0 {
						t.Errorf("a member of another destination gets %d", share)
					}
					continue
				}
				sum, least, most = sum+share, min(least, share), max(most, share)
			}
			if sum != total || most-least > 1 {
				t.Errorf("%d partitions for %d members: sum %d, least %d, most %d", total, members, sum, least, most)
			}
		}
	}
	// Many destinations of one partition are spread too.
	peers := []peer{{"a", []string{"1", "2", "3", "4", "5", "6"}}, {"b", []string{"1", "2", "3", "4", "5", "6"}}}
	var got []int
	for _, d := range peers[0].destinations {
		got = append(got, fairShare(peers, d, "a", 1))
	}
	if !slices.Contains(got, 0) || !slices.Contains(got, 1) {
		t.Errorf("member a gets %v of six destinations", got)
	}
}

// Every part of a record's place enters its checksum.
func TestChecksumCoversThePlace(t *testing.T) {
	base := place{incarnation: rollcall.Incarnation{1}, number: 2, stored: 3}
	sum := base.sum(4, []byte("p"))
	others := []uint32{
		place{rollcall.Incarnation{2}, 2, 3}.sum(4, []byte("p")), place{rollcall.Incarnation{1}, 3, 3}.sum(4, []byte("p")),
		place{rollcall.Incarnation{1}, 2, 4}.sum(4, []byte("p")), base.sum(5, []byte("p")), base.sum(4, []byte("q")),
	}
	if slices.Contains(others, sum) {
		t.Errorf("%x is among %x", sum, others)
	}
	c := chunk{place: base, first: 1, last: 2}
	head := c.headSum(7)
	c.last = 3
	if head == c.headSum(7) || c.headSum(7) == c.headSum(8) {
		t.Error("the row's checksum covers neither its end nor its length")
	}
}

func TestDecodingRubbishNeverPanics(t *testing.T) {
	m := rollcall.Message{ID: "id", Key: "k", Headers: []rollcall.Header{{Name: "n", Value: []byte("v")}}, Stamp: rollcall.Stamp{Sequence: 1}}
	payload := appendPayload(nil, &m, m.Time)
	for cut := range payload {
		var out rollcall.Message
		if err := decodePayload(payload[:cut], &out, new(slab.Strings)); err == nil {
			t.Errorf("the first %d of %d bytes were read", cut, len(payload))
		}
	}
	for i := range payload {
		for bit := range 8 {
			b := slices.Clone(payload)
			b[i] ^= 1 << bit
			var out rollcall.Message
			_ = decodePayload(b, &out, new(slab.Strings)) // the checksum refuses it; here it only must not panic
		}
	}
}

// A stamp that this version cannot read stays visible as a header.
func TestUnreadableStampIsHandedOn(t *testing.T) {
	m := rollcall.Message{ID: "id", Stamp: rollcall.Stamp{Sequence: 1}}
	payload := appendPayload(nil, &m, m.Time)
	stamp := rollcall.AppendStamp(nil, m.Stamp)
	i := len(payload) - 1 - len(stamp)
	payload[i] = 77 // the version byte
	var out rollcall.Message
	if err := decodePayload(payload, &out, new(slab.Strings)); err != nil {
		t.Fatal(err)
	}
	if raw, ok := out.Header(rollcall.StampHeader); !ok || raw[0] != 77 || !out.Stamp.IsZero() {
		t.Errorf("got %+v", out)
	}
}

func TestMarkRoundTrip(t *testing.T) {
	m := mark{incarnation: rollcall.Incarnation{9}, end: 1 << 39, deleting: true}
	b := encodeMark(5, m)
	if got, err := decodeMark(5, b); err != nil || got != m {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := decodeMark(6, b); err == nil {
		t.Error("a slot was accepted in another's place")
	}
	for i := range b {
		c := slices.Clone(b)
		c[i] ^= 0x10
		if got, err := decodeMark(5, c); err == nil {
			t.Errorf("byte %d flipped, and read as %+v", i, got)
		}
	}
}

// Two members that saw the same free partition: the second finds it taken.
func TestALivingMembersLeaseIsNotTaken(t *testing.T) {
	l := openHere(t)
	err := l.write(func(c *conn) error {
		for _, uid := range []string{"a", "b"} {
			if err := addMember(c, "g", uid, "w", []string{"d"}); err != nil {
				return err
			}
		}
		first, ok, err := takeLease(c, "g", 1, "a")
		if err != nil || !ok {
			t.Errorf("a takes a free one: %v, %v", ok, err)
		}
		if _, ok, err := takeLease(c, "g", 1, "b"); ok || err != nil {
			t.Errorf("b takes a's: %v, %v", ok, err)
		}
		if err := giveLease(c, "g", 1, "a", first-1); err != nil {
			return err
		}
		if _, ok, err := takeLease(c, "g", 1, "b"); ok || err != nil {
			t.Errorf("b takes a's, given back in another generation: %v, %v", ok, err)
		}
		if err := dropMembers(c, []string{"a"}); err != nil {
			return err
		}
		if second, ok, err := takeLease(c, "g", 1, "b"); !ok || err != nil || second <= first {
			t.Errorf("b takes a dead one's: generation %d after %d, %v, %v", second, first, ok, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A member that woke before the write lock was ours is left in peace.
func TestWokenMemberIsNotDropped(t *testing.T) {
	l := openHere(t)
	file, err := newMemberFile(l.members())
	if err != nil {
		t.Fatal(err)
	}
	s := &subscription{log: l}
	s.balancer.watched = map[string]watched{file.uid: {beat: file.beat}}
	if got := s.stillDead([]string{file.uid, "gone"}); len(got) != 2 {
		t.Errorf("still dead: %v, want both", got)
	}
	if err := file.raise(); err != nil {
		t.Fatal(err)
	}
	if got := s.stillDead([]string{file.uid, "gone"}); !slices.Equal(got, []string{"gone"}) {
		t.Errorf("still dead: %v, want only the one without a file", got)
	}
	if err := file.remove(); err != nil {
		t.Fatal(err)
	}
}

// One transaction makes rows of a bounded size, whatever the batch.
func TestRowsAreBounded(t *testing.T) {
	l := openHere(t)
	for _, c := range []struct{ messages, bytes, rows int }{{3000, 0, 3}, {5, chunkBytes / 2, 5}, {2, 3 * chunkBytes, 2}} {
		messages := make([]rollcall.Message, c.messages)
		for i := range messages {
			messages[i].Body = make([]byte, c.bytes)
		}
		from := ends(t, l)
		for _, r := range l.Sender().Publish(t.Context(), "d", messages) {
			if r.Fate != rollcall.Stored {
				t.Fatal(r.Err)
			}
		}
		rows := 0
		err := l.read("", func(conn *conn, v *view) error {
			return l.readChunks(conn, v.parts["d"][0], from, func(*chunk) (bool, error) {
				rows++
				return true, nil
			})
		})
		if rows != c.rows || err != nil {
			t.Errorf("%d messages of %d bytes: %d rows, %v; want %d", c.messages, c.bytes, rows, err, c.rows)
		}
	}
}
