//go:build linux

package rocketmq_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
)

// sendAs sends a message as another client would.
func sendAs(t *testing.T, cluster *rocketmq.Cluster, topic string, m *v2.Message) {
	t.Helper()
	m.Topic = &v2.Resource{Name: topic}
	m.SystemProperties.MessageType = v2.MessageType_NORMAL
	ctx, stub := cluster.Stub(t.Context())
	got, err := stub.SendMessage(ctx, &v2.SendMessageRequest{Messages: []*v2.Message{m}})
	if err != nil || got.GetStatus().GetCode() != v2.Code_OK {
		t.Fatal(err, got)
	}
}

func foreign(id string, properties map[string]string, body []byte) *v2.Message {
	return &v2.Message{UserProperties: properties, Body: body, SystemProperties: &v2.SystemProperties{MessageId: id, BodyEncoding: v2.Encoding_IDENTITY}}
}

func packed(w io.WriteCloser, b *bytes.Buffer) []byte {
	_, _ = w.Write([]byte("unpacked"))
	_ = w.Close()
	return b.Bytes()
}

// TestEnvelopes: what is no stamp stays a header, and is never taken for a message without
// one; what others send has an id that its repeats keep.
func TestEnvelopes(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		cluster := open(t, s)
		stamp := rollcall.Stamp{Life: rollcall.NewLife(), Lane: 0, Sequence: 7, Origin: 9}
		good := base64.RawURLEncoding.EncodeToString(rollcall.AppendStamp(nil, stamp))
		var zipped, deflated bytes.Buffer
		zip := foreign("zip", nil, packed(gzip.NewWriter(&zipped), &zipped))
		flat := foreign("flat", nil, packed(zlib.NewWriter(&deflated), &deflated))
		zip.SystemProperties.BodyEncoding, flat.SystemProperties.BodyEncoding = v2.Encoding_GZIP, v2.Encoding_GZIP
		tagged, tag := foreign("tagged", map[string]string{"traceparent": "00-1"}, []byte("tagged")), "paid"
		tagged.SystemProperties.Tag, tagged.SystemProperties.Keys = &tag, []string{"order-1", "eu"}
		for _, m := range []*v2.Message{
			foreign("stamped", map[string]string{"rollcall-stamp": good, "rollcall-id": "mine"}, []byte("stamped")),
			foreign("short", map[string]string{"rollcall-stamp": good[:10]}, []byte("short")),
			foreign("no-base64", map[string]string{"rollcall-stamp": "!" + good}, []byte("no-base64")),
			foreign("two", map[string]string{"rollcall-stamp": good, "rollcall-headers": "rollcall-stamp=" + good}, []byte("two")),
			foreign("bare", nil, []byte("bare")),
			foreign("with-id", map[string]string{"rollcall-id": "business-1"}, []byte("with-id")),
			foreign("list", map[string]string{"rollcall-headers": "%zz,="}, []byte("list")),
			zip, flat, tagged,
		} {
			sendAs(t, cluster, topic, m)
		}
		r := subscribe(t, cluster, topic, group(topic), short)
		got := make(map[string]rollcall.Delivery)
		for _, d := range r.read(10) {
			name := string(d.Body)
			if name == "unpacked" {
				name = string(d.ID)
			}
			got[name] = d
			r.must(rollcall.Ack, d)
		}
		for _, c := range []struct {
			name, id string
			stamped  bool
			bad      bool
		}{
			{"stamped", "mine", true, false}, {"short", "short", false, true}, {"no-base64", "no-base64", false, true}, {"two", "two", false, true},
			{"bare", "bare", false, false}, {"with-id", "business-1", false, false}, {"zip", "zip", false, false}, {"flat", "flat", false, false},
			{"tagged", "tagged", false, false}, {"list", "list", false, false},
		} {
			d, there := got[c.name]
			_, bad := d.Header(rollcall.StampHeader)
			if !there || string(d.ID) != c.id || d.Stamp.IsZero() == c.stamped || bad != c.bad {
				t.Errorf("%s: there %v, id %q, stamp %v, headers %v", c.name, there, d.ID, d.Stamp, d.Headers)
			}
		}
		d := got["tagged"]
		for name, want := range map[string]string{"traceparent": "00-1", rocketmq.TagHeader: "paid", rocketmq.KeysHeader: "order-1 eu"} {
			if v, _ := d.Header(name); string(v) != want {
				t.Errorf("header %s is %q, want %q", name, v, want)
			}
		}
	})
}

// TestKeysAreIDs: only where it is said, keys are the id.
func TestKeysAreIDs(t *testing.T) {
	t.Parallel()
	s := sharedServer(t, "local")
	topic := newTopic(t, s, "NORMAL", 1)
	cluster := open(t, s)
	m := foreign("unique", nil, []byte("x"))
	m.SystemProperties.Keys = []string{"order-1"}
	sendAs(t, cluster, topic, m)
	config := short
	config.KeysAreIDs = true
	r := subscribe(t, cluster, topic, group(topic), config)
	d := r.read(1)[0]
	if d.ID != "order-1" {
		t.Errorf("id %q, want the keys", d.ID)
	}
	r.must(rollcall.Ack, d)
}

// TestHeaders: order, repeats and bytes arrive, names of the server too, and a plain one is
// a property that others read. A tag is the server's own.
func TestHeaders(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		cluster := open(t, s)
		var many []rollcall.Header
		for i := range 150 {
			many = append(many, rollcall.Header{Name: strings.Repeat("h", 1+i%40), Value: bytes.Repeat([]byte{byte(i)}, i)})
		}
		cases := [][]rollcall.Header{
			{{Name: "z", Value: []byte("1")}, {Name: "a", Value: []byte("2")}, {Name: "z", Value: []byte("3")}},
			{{Name: "KEYS", Value: []byte("x")}, {Name: "", Value: nil}, {Name: "UNIQ_KEY", Value: []byte("y")}, {Name: "ключ=,", Value: []byte("значение")}},
			{{Name: "empty", Value: []byte{}}, {Name: "control", Value: []byte("a\x01b\x02c\n")}, {Name: "equals", Value: []byte("=abc")}},
			many,
		}
		var messages []rollcall.Message
		for i, headers := range cases {
			messages = append(messages, rollcall.Message{ID: rollcall.MessageID(body(i)), Body: []byte(body(i)), Headers: headers,
				Stamp: rollcall.Stamp{Life: rollcall.NewLife(), Sequence: 1}})
		}
		tagged := rollcall.Message{Body: []byte("tagged"), Headers: []rollcall.Header{{Name: rocketmq.TagHeader, Value: []byte("paid")}}}
		for i, r := range cluster.Sender().Publish(t.Context(), topic, append(messages, tagged)) {
			if r.Fate != rollcall.Stored {
				t.Fatalf("%d: %v", i, r.Err)
			}
		}
		r := subscribe(t, cluster, topic, group(topic), short)
		for _, d := range r.read(len(cases) + 1) {
			r.must(rollcall.Ack, d)
			if string(d.Body) == "tagged" {
				continue
			}
			i := slices.IndexFunc(messages, func(m rollcall.Message) bool { return string(m.Body) == string(d.Body) })
			if !slices.EqualFunc(d.Headers, cases[i], func(a, b rollcall.Header) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }) {
				t.Errorf("%d: %.300v\nwant %.300v", i, d.Headers, cases[i])
			}
		}
		config := short
		config.Filter = "paid || refunded"
		name := group(topic) + "-paid"
		s.CreateGroup(t, name, false, 16)
		paid := subscribe(t, cluster, topic, name, config)
		d := paid.read(1)
		if string(d[0].Body) != "tagged" {
			t.Errorf("%q came through the filter", d[0].Body)
		}
		paid.must(rollcall.Ack, d...)
		paid.nothing(2*time.Second, "through the filter")
	})
}

// TestTooLarge: what cannot be sent is refused before it is, and what just fits is stored.
func TestTooLarge(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		topic := newTopic(t, s, "NORMAL", 1)
		sender := open(t, s).Sender()
		most := sender.Capabilities().MaxBytes
		fits := sender.Publish(t.Context(), topic, []rollcall.Message{{Body: make([]byte, most)}})[0]
		if fits.Fate != rollcall.Stored {
			t.Errorf("%d bytes: %v %v", most, fits.Fate, fits.Err)
		}
		key := sender.Publish(t.Context(), topic, []rollcall.Message{{Key: strings.Repeat("\xff", most)}})[0]
		if key.Fate != rollcall.Refused {
			t.Errorf("a key of %d bytes: %v %v", most, key.Fate, key.Err)
		}
		ours := sender.Publish(t.Context(), topic, []rollcall.Message{{Headers: []rollcall.Header{{Name: "rollcall-x"}}}})[0]
		if ours.Fate != rollcall.Refused {
			t.Errorf("a header of ours: %v %v", ours.Fate, ours.Err)
		}
	})
}
