//go:build linux

package specimen_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"

	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// redisCache is the cache that the patterns are about.
type redisCache struct {
	client *redis.Client
	prefix string
}

func (c redisCache) Get(ctx context.Context, key string) (string, bool, error) {
	value, err := c.client.Get(ctx, c.prefix+key).Result()
	if errors.Is(err, redis.Nil) {
		return "", false, nil
	}
	return value, err == nil, err
}
func (c redisCache) Set(ctx context.Context, key, value string, ttl time.Duration) error {
	return c.client.Set(ctx, c.prefix+key, value, ttl).Err()
}
func (c redisCache) SetNX(ctx context.Context, key, value string, ttl time.Duration) (bool, error) {
	return c.client.SetNX(ctx, c.prefix+key, value, ttl).Result()
}
func (c redisCache) Del(ctx context.Context, key string) error {
	return c.client.Del(ctx, c.prefix+key).Err()
}
func (c redisCache) DelIf(ctx context.Context, key, value string) error {
	return c.client.Eval(ctx, `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`,
		[]string{c.prefix + key}, value).Err()
}

// streamQueue is a queue as Redis has it: a stream with a consumer group.
type streamQueue struct {
	client         *redis.Client
	name, consumer string
	messages       int
	lease          time.Duration // then what was not acknowledged comes again, and an owner without a sign of life is replaced
	entry          string        // in hand
}

// Receive implements specimen.Queue: what was not acknowledged in time comes
// again; the queue is worked off when all is acknowledged.
func (q *streamQueue) Receive(ctx context.Context) (specimen.Message, error) {
	for {
		old, _, err := q.client.XAutoClaim(ctx, &redis.XAutoClaimArgs{Stream: q.name, Group: "g", Consumer: q.consumer, MinIdle: q.lease, Start: "0", Count: 1}).Result()
		if err != nil {
			return specimen.Message{}, err
		}
		if len(old) == 0 {
			read, err := q.client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: q.consumer, Streams: []string{q.name, ">"}, Count: 1, Block: 20 * time.Millisecond}).Result()
			if err != nil && !errors.Is(err, redis.Nil) {
				return specimen.Message{}, err
			}
			if len(read) > 0 {
				old = read[0].Messages
			}
		}
		if len(old) > 0 {
			q.entry = old[0].ID
			return specimen.Message{ID: fmt.Sprint(old[0].Values["id"]), Cents: 5}, nil
		}
		if done, err := q.workedOff(ctx); err != nil || done {
			return specimen.Message{}, errors.Join(err, io.EOF)
		}
	}
}

func (q *streamQueue) workedOff(ctx context.Context) (bool, error) {
	n, err := q.client.SCard(ctx, q.name+"-acked").Result()
	return int(n) == q.messages, err
}

// Ack implements specimen.Queue.
func (q *streamQueue) Ack(ctx context.Context, m specimen.Message) error {
	_, err := q.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.XAck(ctx, q.name, "g", q.entry)
		return p.SAdd(ctx, q.name+"-acked", m.ID).Err()
	})
	return err
}

// Nack implements specimen.Queue: it comes again when its lease is over.
func (q *streamQueue) Nack(context.Context, specimen.Message) error { return nil }

// ownedLog is the stream as a log with one owner at a time, who starts from
// offsets of its own.
type ownedLog struct {
	*streamQueue
	db   *sql.DB
	next int64
}

// Receive implements specimen.Queue.
func (l *ownedLog) Receive(ctx context.Context) (specimen.Message, error) {
	for {
		if done, err := l.workedOff(ctx); err != nil || done {
			return specimen.Message{}, errors.Join(err, io.EOF)
		}
		took, err := l.client.SetNX(ctx, l.name+"-owner", l.consumer, l.lease).Result()
		if err != nil {
			return specimen.Message{}, err
		}
		if took {
			if l.next, err = specimen.NextOffset(ctx, l.db); err != nil {
				return specimen.Message{}, err
			}
		}
		owner, err := l.client.Get(ctx, l.name+"-owner").Result()
		if err == nil && owner == l.consumer {
			err = l.client.PExpire(ctx, l.name+"-owner", l.lease).Err()
		}
		if err != nil && !errors.Is(err, redis.Nil) {
			return specimen.Message{}, err
		}
		if owner == l.consumer && l.next < int64(l.messages) {
			l.next++
			return specimen.Message{ID: fmt.Sprint("order-", l.next-1), Cents: 5, Offset: l.next - 1}, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Ack implements specimen.Queue.
func (l *ownedLog) Ack(ctx context.Context, m specimen.Message) error {
	return l.client.SAdd(ctx, l.name+"-acked", m.ID).Err()
}

// numbered opens connections that number the values of a statement.
type numbered struct{ driver.Connector }

// Connect implements driver.Connector.
func (n numbered) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := n.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return numberedConn{c.(*stdlib.Conn)}, nil
}

type numberedConn struct{ *stdlib.Conn }

// ExecContext implements driver.ExecerContext.
func (c numberedConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.ExecContext(ctx, numberedText(text), args)
}

// QueryContext implements driver.QueryerContext.
func (c numberedConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.QueryContext(ctx, numberedText(text), args)
}
