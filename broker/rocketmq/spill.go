package rocketmq

import (
	"encoding/json"
	"maps"
	"strconv"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/rollcall-mq/rollcall"
)

// RocketMQ takes 128 properties, of 16 KiB together. What is more goes before the body,
// as JSON, and spillProperty says how many bytes that is.
const spillProperty = ours + "spill"

const (
	// propertyBytes is the most that the server takes of a message's properties, and
	// ownBytes of that are for its own.
	propertyBytes = 16 << 10
	ownBytes      = 1 << 10
	// mostProperties is the server's limit, less some of its own.
	mostProperties = 100
)

func tooMuch(properties map[string]string) bool {
	size := ownBytes
	for name, value := range properties {
		size += len(name) + len(value) + 2
	}
	return size > propertyBytes || len(properties) > mostProperties
}

// spill moves properties that are too much into the body. The stamp stays: it is what
// others look for.
func spill(w *v2.Message) {
	if !tooMuch(w.UserProperties) {
		return
	}
	stay := make(map[string]string)
	for _, name := range []string{rollcall.StampHeader, timeProperty} {
		if v, has := w.UserProperties[name]; has {
			stay[name] = v
			delete(w.UserProperties, name)
		}
	}
	moved, _ := json.Marshal(w.UserProperties) // text only: it cannot fail
	stay[spillProperty] = strconv.Itoa(len(moved))
	w.UserProperties, w.Body = stay, append(moved, w.Body...)
}

// unspill takes properties back out of a body. What spill did not write stays as it is.
func unspill(properties map[string]string, body []byte) []byte {
	n, err := strconv.Atoi(properties[spillProperty])
	if err != nil || n < 2 || n > len(body) {
		return body
	}
	var moved map[string]string
	if json.Unmarshal(body[:n], &moved) != nil {
		return body
	}
	delete(properties, spillProperty)
	maps.Copy(properties, moved)
	return body[n:]
}
