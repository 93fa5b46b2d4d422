package rocketmq

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/rollcall-mq/rollcall"
)

// bodyOf is the body, unpacked if its sender packed it.
func bodyOf(w *v2.Message) ([]byte, error) {
	body, system := w.GetBody(), w.GetSystemProperties()
	if d := system.GetBodyDigest(); d.GetType() == v2.DigestType_CRC32 && d.GetChecksum() != "" {
		sum, err := strconv.ParseUint(d.GetChecksum(), 16, 32)
		if err == nil && uint32(sum) != crc32.ChecksumIEEE(body) {
			return body, fmt.Errorf("%w: rocketmq: message %q: its body has another checksum than the server wrote (%s)", rollcall.ErrDamaged, system.GetMessageId(), strings.ToLower(d.GetChecksum()))
		}
	}
	if system.GetBodyEncoding() != v2.Encoding_GZIP {
		return body, nil
	}
	unpacked, err := unpack(body)
	if err != nil {
		return body, fmt.Errorf("%w: rocketmq: message %q: its body cannot be unpacked: %w", rollcall.ErrDamaged, system.GetMessageId(), err)
	}
	return unpacked, nil
}

// unpack reads gzip and, as the older clients write it, zlib. What is much larger than a
// message can be is no message.
func unpack(body []byte) ([]byte, error) {
	var r io.Reader
	var err error
	if bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		r, err = gzip.NewReader(bytes.NewReader(body))
	} else {
		r, err = zlib.NewReader(bytes.NewReader(body))
	}
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, answerBytes+1))
	if err == nil && len(out) > answerBytes {
		err = fmt.Errorf("more than %d bytes", answerBytes)
	}
	return out, err
}
