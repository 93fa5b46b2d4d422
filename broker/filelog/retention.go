package filelog

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// trimRows is how many rows one transaction of Trim removes of a partition:
// publishers wait no longer than that takes.
const trimRows = 2000

// Trim removes messages stored longer ago than Config.Retention, whole rows
// from the beginning of each partition: a row is removed when all before it
// are. A clock that was set back keeps messages longer, never shorter. The high
// marks stay. Without a Retention it does nothing. Publishing calls it now and
// then. The file does not shrink; its room is used again.
func (l *Log) Trim(ctx context.Context) error {
	if l.config.Retention == 0 {
		return nil
	}
	now := l.config.now()
	cutoff := func(destination string) int64 {
		if destination == l.config.Side {
			return now.Add(-max(l.config.Retention, sideRetention)).UnixNano()
		}
		return now.Add(-l.config.Retention).UnixNano()
	}
	for {
		more, err := l.trimOnce(ctx, cutoff)
		if err != nil || !more {
			return err
		}
	}
}

// trimSometimes is Trim for the committer, at most once a second: where nothing
// is old enough it writes nothing.
func (l *Log) trimSometimes() error {
	if l.config.Retention == 0 || time.Since(l.writer.trimmed) < time.Second {
		return nil
	}
	l.writer.trimmed = time.Now()
	return l.Trim(context.Background())
}

func (l *Log) trimOnce(ctx context.Context, cutoff func(destination string) int64) (more bool, err error) {
	if err := l.ready(ctx); err != nil {
		return false, err
	}
	err = l.write(func(c *conn) error {
		v, err := l.writeView(c)
		if err != nil {
			return err
		}
		for destination, list := range v.parts {
			for _, p := range list {
				cut, full, err := l.findCut(c, p, cutoff(destination))
				if err != nil {
					return err
				}
				more = more || full
				if err := cutTo(c, p, cut); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return more, l.explain("retention", err)
}

// findCut returns the offset before which all is older than cutoff, and
// whether it stopped only because it had seen enough rows.
func (l *Log) findCut(c *conn, p *part, cutoff int64) (cut int64, full bool, err error) {
	cut = p.first
	rows := 0
	args := []any{chunkID(p.id, p.first), chunkID(p.id, mostOffset)}
	err = c.rows(`SELECT id, first, stored, crc, length(data) FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id`, args, func(r *sql.Rows) (bool, error) {
		ch := chunk{place: p.place(0)}
		var id, sum int64
		var size int
		if err := scan(r, &id, &ch.first, &ch.stored, &sum, &size); err != nil {
			return false, err
		}
		ch.last = id & mostOffset
		if int64(ch.headSum(size)) != sum {
			return false, l.damaged(p.where(), (&recordError{ch.first, errChunkHead}).Error(), nextRestore)
		}
		if ch.stored >= cutoff {
			return false, nil
		}
		cut = ch.last + 1
		rows++
		full = rows == trimRows
		return !full, nil
	})
	return cut, full, err
}

// cutTo removes the rows that lie wholly before an offset.
func cutTo(c *conn, p *part, offset int64) error {
	if offset <= p.first {
		return nil
	}
	if _, err := c.exec(`DELETE FROM chunks WHERE id BETWEEN ? AND ?`, chunkID(p.id, 0), chunkID(p.id, offset-1)); err != nil {
		return err
	}
	p.first = offset
	return writePart(c, p)
}

// TrimTo makes offset the first of a partition; what lies before is gone.
// Nothing is changed if it begins later already. An offset beyond the end is
// ErrConfig.
func (l *Log) TrimTo(ctx context.Context, destination string, partition int32, offset int64) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	err := l.write(func(c *conn) error {
		v, err := l.writeView(c)
		if err != nil {
			return err
		}
		list := v.parts[destination]
		if partition < 0 || int(partition) >= len(list) {
			return l.noDestination(fmt.Sprintf("%s/%d", destination, partition))
		}
		p := list[partition]
		if offset > p.end {
			return fmt.Errorf("%w: filelog: %s ends at %d, it cannot begin at %d; give an offset up to its end", rollcall.ErrConfig, p.where(), p.end, offset)
		}
		return cutTo(c, p, offset)
	})
	if err == nil {
		l.changed.raise()
	}
	return l.explain("trim", err)
}
