package rocketmq

import "strings"

// mended is a handle that the server gave for one whose time was changed. It is text:
//
//	start-offset time invisible revive-queue topic-type broker queue offset commit-offset
//
// The first is by which the broker finds the message's mark. After a change there is a
// mark for this message alone, at its own offset; a proxy in local mode (5.5.0) writes the
// offset of the first message that was received with it. With such a handle neither an
// acknowledgement nor another change is of use, though both are answered with OK: the
// message comes again. In cluster mode both fields are equal, and nothing is done here.
func mended(handle string) string {
	const start, offset = 0, 7
	fields := strings.Split(handle, " ")
	if len(fields) <= offset || !number(fields[start]) || !number(fields[offset]) {
		return handle
	}
	fields[start] = fields[offset]
	return strings.Join(fields, " ")
}

func number(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
