package filelog_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/brokertest"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// TestKit is the acceptance test of broker drivers on real files. Every sender
// and source has the file open for itself, as processes have.
func TestKit(t *testing.T) {
	brokertest.Run(t, func(t testing.TB) brokertest.Broker {
		path := filepath.Join(t.TempDir(), "log.db")
		open := func(t testing.TB) *filelog.Log {
			log, err := filelog.Open(path, filelog.Config{Partitions: 4})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = log.Close() })
			return log
		}
		return brokertest.Broker{
			Sender: func(t testing.TB) rollcall.Sender { return open(t).Sender() },
			Source: func(t testing.TB, d string) rollcall.Source { return open(t).Source(d) },
			Recreate: func(t testing.TB, d string) {
				log := open(t)
				if err := log.Delete(context.Background(), d); err != nil {
					t.Fatal(err)
				}
				if err := log.Create(context.Background(), d, 4); err != nil {
					t.Fatal(err)
				}
			},
			Remove: func(t testing.TB, d string, partition int32, below int64) {
				if err := open(t).TrimTo(context.Background(), d, partition, below); err != nil {
					t.Fatal(err)
				}
			},
			Partitions: 4,
		}
	})
}
