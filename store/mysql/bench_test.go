//go:build linux

package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/mysql"
)

// farConn is half a millisecond away.
type farConn struct{ net.Conn }

func (c farConn) Write(b []byte) (int, error) {
	time.Sleep(500 * time.Microsecond)
	return c.Conn.Write(b)
}

func far(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, network, address)
	return farConn{raw}, err
}

// BenchmarkGather is messages through a handler with two statements, with a turn
// of half a millisecond: the time is that of one message.
func BenchmarkGather(b *testing.B) {
	for kind, spec := range kinds {
		server := servers.Shared(b, spec)
		for _, gather := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/gathered=%v", kind, gather), func(b *testing.B) {
				w := newBench(b, server, mysql.Config{Dial: far})
				w.send(b.N, ownKeys)
				b.ResetTimer()
				w.run(rollcall.ConsumerConfig{Gather: gather}, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
					var have int
					if err := tx.QueryRowContext(ctx, w.sql("SELECT COUNT(*) FROM ~e WHERE n = ?"), string(m.Body)).Scan(&have); err != nil {
						return err
					}
					_, err := tx.ExecContext(ctx, w.sql("INSERT INTO ~e (n, v) VALUES (?, ?)"), string(m.Body), have)
					return err
				})
				b.StopTimer()
				if got := w.number("SELECT COUNT(*) FROM ~e"); got != b.N {
					b.Fatalf("%d effects, want %d", got, b.N)
				}
			})
		}
	}
}
