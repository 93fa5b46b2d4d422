package rocketmq

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"fmt"

	"google.golang.org/grpc/metadata"
)

// signed adds to a call what the server wants to know of who makes it. The signature is
// over the time alone, so it says nothing of the request: it needs TLS beneath.
func (c Config) signed(ctx context.Context, clientID string) context.Context {
	now := c.Now().UTC().Format("20060102T150405Z")
	var request [16]byte
	_, _ = rand.Read(request[:]) // it never fails
	pairs := []string{
		"x-mq-language", "GO", // without it, and with GOLANG, the server breaks
		"x-mq-protocol", "v2",
		"x-mq-client-version", "5.1.4",
		"x-mq-request-id", hex.EncodeToString(request[:]),
		"x-mq-client-id", clientID,
		"x-mq-date-time", now,
	}
	if c.Namespace != "" {
		pairs = append(pairs, "x-mq-namespace", c.Namespace)
	}
	if c.AccessKey != "" {
		h := hmac.New(sha1.New, []byte(c.SecretKey))
		h.Write([]byte(now))
		pairs = append(pairs, "authorization", fmt.Sprintf("MQv2-HMAC-SHA1 Credential=%s//Rocketmq, SignedHeaders=x-mq-date-time, Signature=%x", c.AccessKey, h.Sum(nil)))
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}
