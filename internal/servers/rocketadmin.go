//go:build linux

package servers

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"
)

// remote asks by the protocol of brokers and name servers, which has words for what gRPC
// has none: a length, the length of a header in JSON, header, body.
func remote(addr string, code int, fields map[string]string, body []byte) (map[string]string, []byte, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, nil, err
	}
	header, err := json.Marshal(map[string]any{"code": code, "language": "JAVA", "version": 500, "opaque": 1, "flag": 0, "extFields": fields})
	if err != nil {
		return nil, nil, err
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(body)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	if _, err := c.Write(append(append(frame, header...), body...)); err != nil {
		return nil, nil, err
	}
	var size [8]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, nil, err
	}
	whole, head := binary.BigEndian.Uint32(size[:])-4, binary.BigEndian.Uint32(size[4:])&0xffffff
	if whole > 16<<20 || head > whole {
		return nil, nil, fmt.Errorf("not an answer of RocketMQ: %x", size)
	}
	answer := make([]byte, whole)
	if _, err := io.ReadFull(c, answer); err != nil {
		return nil, nil, err
	}
	var got struct {
		Code      int
		Remark    string
		ExtFields map[string]string
	}
	if err := json.Unmarshal(answer[:head], &got); err != nil {
		return nil, nil, err
	}
	if got.Code != 0 {
		return nil, nil, fmt.Errorf("request %d: code %d: %s", code, got.Code, got.Remark)
	}
	return got.ExtFields, answer[head:], nil
}

// Ask asks the broker by its own protocol; signed, where the settings have an admin.
func (r *RocketMQ) Ask(code int, fields map[string]string, body []byte) (map[string]string, []byte, error) {
	return remote(r.brokerAddr(), code, r.signed(fields, body), body)
}

// signed adds who asks: over the values in the order of their names, and the body.
func (r *RocketMQ) signed(fields map[string]string, body []byte) map[string]string {
	user := r.Broker.Settings["admin.user"]
	if user == "" {
		return fields
	}
	out := map[string]string{"AccessKey": user}
	maps.Copy(out, fields)
	h := hmac.New(sha1.New, []byte(r.Broker.Settings["admin.key"]))
	for _, name := range slices.Sorted(maps.Keys(out)) {
		h.Write([]byte(out[name]))
	}
	h.Write(body)
	out["Signature"] = base64.StdEncoding.EncodeToString(h.Sum(nil))
	return out
}

// Remote is Ask, with a body in JSON, and fails the test on an error.
func (r *RocketMQ) Remote(t testing.TB, code int, fields map[string]string, body any) (map[string]string, []byte) {
	t.Helper()
	var content []byte
	if body != nil {
		content, _ = json.Marshal(body)
	}
	got, rest, err := r.Ask(code, fields, content)
	if err != nil {
		t.Fatalf("RocketMQ at %s: %v", r.brokerAddr(), err)
	}
	return got, rest
}

// CreateTopic makes a topic of the kind: NORMAL, FIFO, DELAY or TRANSACTION.
func (r *RocketMQ) CreateTopic(t testing.TB, name, kind string, queues int) {
	t.Helper()
	n := strconv.Itoa(queues)
	r.Remote(t, 17, map[string]string{"topic": name, "defaultTopic": "TBW102", "readQueueNums": n, "writeQueueNums": n, "perm": "6",
		"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false", "attributes": "+message.type=" + kind}, nil)
}

// CreateGroup makes a consumer group; what it is given more than retries times is the
// server's dead letter.
func (r *RocketMQ) CreateGroup(t testing.TB, name string, orderly bool, retries int) {
	t.Helper()
	r.Remote(t, 200, nil, map[string]any{"groupName": name, "consumeEnable": true, "consumeFromMinEnable": true, "consumeBroadcastEnable": true,
		"consumeMessageOrderly": orderly, "retryQueueNums": 1, "retryMaxTimes": retries, "brokerId": 0, "whichBrokerWhenConsumeSlowly": 1,
		"notifyConsumerIdsChangedEnable": true})
}

// MaxOffset is how many messages a queue of a topic ever had.
func (r *RocketMQ) MaxOffset(t testing.TB, topic string, queue int) int64 {
	t.Helper()
	got, _ := r.Remote(t, 30, map[string]string{"topic": topic, "queueId": strconv.Itoa(queue)}, nil)
	n, err := strconv.ParseInt(got["offset"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// MaxOffsets is MaxOffset of each of the topic's queues.
func (r *RocketMQ) MaxOffsets(t testing.TB, topic string, queues int) (ends []int64) {
	t.Helper()
	for queue := range queues {
		ends = append(ends, r.MaxOffset(t, topic, queue))
	}
	return ends
}

// Version is what the broker says of itself. In its first second it has no statistics yet,
// and answers with an exception.
func (r *RocketMQ) Version(t testing.TB) string {
	t.Helper()
	var body []byte
	var last error
	err := wait(patience, "the broker to have statistics", func() bool {
		_, body, last = r.Ask(28, nil, nil)
		return last == nil
	})
	if err != nil {
		t.Fatal(errors.Join(err, last))
	}
	var info struct{ Table map[string]string }
	if err := json.Unmarshal(body, &info); err != nil {
		t.Fatal(err)
	}
	return info.Table["brokerVersionDesc"]
}
