//go:build linux

package redis_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/redis"
)

// BenchmarkClaims claims and completes keys of 16 bytes with one connection,
// one or a hundred a turn, on a server that syncs every turn.
func BenchmarkClaims(b *testing.B) {
	server := servers.Start(b, servers.Redis, servers.Config{Settings: map[string]string{"maxmemory": "0"}})
	s, err := redis.Open(b.Context(), redis.Config{Addr: server.Addr})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	next := 0
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("turn=%d", size), func(b *testing.B) {
			for done := 0; done < b.N; done += size {
				keys, all := make([]rollcall.DedupKey, size), make([]redis.Completion, size)
				for i := range keys {
					keys[i], next = key(next), next+1
				}
				claims, err := s.ClaimAll(b.Context(), group, keys, time.Minute)
				if err != nil {
					b.Fatal(err)
				}
				for i, c := range claims {
					all[i] = redis.Completion{Key: keys[i], Token: c.Token}
				}
				for _, err := range s.CompleteAll(b.Context(), group, all, time.Hour) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "keys/s")
		})
	}
}
