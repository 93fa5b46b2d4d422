package rocketmq_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"
)

// brokerAdmin speaks the broker's own protocol: what gRPC has no words for.
type brokerAdmin struct {
	addr      string
	user, key string // who signs, if anybody does
}

// sign adds who asks: over the values by name, and the body.
func (a brokerAdmin) sign(fields map[string]string, content []byte) map[string]string {
	signed := maps.Clone(fields)
	if a.user == "" {
		return signed
	}
	if signed == nil {
		signed = make(map[string]string)
	}
	signed["AccessKey"] = a.user
	h := hmac.New(sha1.New, []byte(a.key))
	for _, name := range slices.Sorted(maps.Keys(signed)) {
		h.Write([]byte(signed[name]))
	}
	h.Write(content)
	signed["Signature"] = base64.StdEncoding.EncodeToString(h.Sum(nil))
	return signed
}

// remoted is an answer.
type remoted struct {
	Code      int
	Remark    string
	ExtFields map[string]string
	body      []byte
}

func (a brokerAdmin) ask(code int, fields map[string]string, content []byte) (got remoted, err error) {
	c, err := net.DialTimeout("tcp", a.addr, 5*time.Second)
	if err != nil {
		return got, err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	header, _ := json.Marshal(map[string]any{"code": code, "language": "JAVA", "version": 500, "opaque": 1, "flag": 0, "extFields": a.sign(fields, content)})
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(content)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	frame = append(append(frame, header...), content...)
	if _, err := c.Write(frame); err != nil {
		return got, err
	}
	var size [8]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return got, err
	}
	n := binary.BigEndian.Uint32(size[4:]) & 0xffffff
	answer := make([]byte, binary.BigEndian.Uint32(size[:])-4)
	if _, err := io.ReadFull(c, answer); err != nil {
		return got, err
	}
	got.body = answer[n:]
	if err := json.Unmarshal(answer[:n], &got); err != nil {
		return got, err
	}
	if got.Code != 0 {
		return got, fmt.Errorf("code %d answered %d: %s", code, got.Code, got.Remark)
	}
	return got, nil
}

func (a brokerAdmin) call(t testing.TB, code int, fields map[string]string, body any) map[string]string {
	t.Helper()
	var content []byte
	if body != nil {
		content, _ = json.Marshal(body)
	}
	got, err := a.ask(code, fields, content)
	if err != nil {
		t.Fatal(err)
	}
	return got.ExtFields
}

func (a brokerAdmin) createTopic(t testing.TB, name, kind string, queues int) {
	t.Helper()
	n := strconv.Itoa(queues)
	a.call(t, 17, map[string]string{"topic": name, "defaultTopic": "TBW102", "readQueueNums": n, "writeQueueNums": n, "perm": "6",
		"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false", "attributes": "+message.type=" + kind}, nil)
}

func (a brokerAdmin) createGroup(t testing.TB, name string, orderly bool, retryMax int) {
	t.Helper()
	a.call(t, 200, nil, map[string]any{"groupName": name, "consumeEnable": true, "consumeFromMinEnable": true, "consumeBroadcastEnable": true,
		"consumeMessageOrderly": orderly, "retryQueueNums": 1, "retryMaxTimes": retryMax, "brokerId": 0, "whichBrokerWhenConsumeSlowly": 1, "notifyConsumerIdsChangedEnable": true})
}
