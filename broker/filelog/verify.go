package filelog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/slab"
)

// checkAll compares the log with its marks and looks whether every partition
// begins and ends where its row says. It reads no records.
func (l *Log) checkAll() error {
	return l.explain("open", l.write(func(c *conn) error {
		v, err := l.writeView(c)
		if err != nil {
			return err
		}
		table, err := l.loadMarks()
		if err != nil {
			return err
		}
		if err := l.checkAbsent(v, table); err != nil {
			return err
		}
		var undeleted []*part // a deletion was cut short before its COMMIT
		for _, list := range v.parts {
			for _, p := range list {
				if err := l.checkEnds(c, p); err != nil {
					return err
				}
				if m, _ := table.at(p.id); m.deleting {
					undeleted = append(undeleted, p)
				}
			}
		}
		if len(undeleted) == 0 {
			return nil
		}
		return l.marks.flag(undeleted, false)
	}))
}

// checkAbsent looks for marks of partitions that the log does not have.
func (l *Log) checkAbsent(v *view, table markTable) error {
	here := make(map[int64]bool)
	for _, list := range v.parts {
		for _, p := range list {
			here[p.id] = true
		}
	}
	for id := range table.slots() {
		m, err := table.at(id)
		if err != nil {
			return l.damaged("", fmt.Sprintf("mark %d of %s: %v", id, l.marks.path, err), nextMarks)
		}
		if !here[id] && m.end > 0 && !m.deleting {
			return l.damaged("", fmt.Sprintf("partition row %d with messages up to offset %d is gone: the log was truncated, or an older copy was restored",
				id, m.end-1), nextMarks)
		}
	}
	return nil
}

// checkEnds: the last row of a partition ends at its end, and the first one
// covers its first offset.
func (l *Log) checkEnds(c *conn, p *part) error {
	var last, lowest int64 = -1, -1
	bounds := []any{chunkID(p.id, 0), chunkID(p.id, mostOffset)}
	err := c.rows(`SELECT id FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1`, bounds, func(r *sql.Rows) (bool, error) {
		return false, scan(r, &last)
	})
	if err != nil {
		return err
	}
	err = c.rows(`SELECT first FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1`, bounds, func(r *sql.Rows) (bool, error) {
		return false, scan(r, &lowest)
	})
	switch {
	case err != nil:
		return err
	case p.first == p.end && last < 0:
		return nil
	case p.first < 0 || p.first >= p.end || last&mostOffset != p.end-1 || lowest < 0 || lowest > p.first:
		return l.damaged(p.where(), fmt.Sprintf("its rows do not cover the offsets %d to %d", p.first, p.end-1), nextRestore)
	}
	return nil
}

// Verify reads every record and compares it with its checksum. It returns the
// first thing that is wrong (rollcall.ErrDamaged), or nil. Others may work
// meanwhile; it reads one snapshot, so the -wal file grows as long as it runs.
func (l *Log) Verify(ctx context.Context) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	c, err := l.connect() // of its own: it may take long
	if err != nil {
		return l.explain("verify", err)
	}
	err = l.readView(c, "", func(v *view) error {
		for _, list := range v.parts {
			for _, p := range list {
				if err := l.verifyPart(ctx, c, p); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return errors.Join(l.explain("verify", err), c.close())
}

func (l *Log) verifyPart(ctx context.Context, c *conn, p *part) error {
	var texts slab.Strings
	return l.readChunks(c, p, p.first, func(ch *chunk) (bool, error) {
		var bad error
		err := ch.each(ch.first, func(offset int64, payload []byte) bool {
			var m rollcall.Message
			if bad = decodePayload(payload, &m, &texts); bad != nil {
				bad = &recordError{offset, bad}
			}
			return bad == nil
		})
		if err = errors.Join(err, bad); err != nil {
			return false, l.damaged(p.where(), err.Error(), nextRestore)
		}
		return true, ctx.Err()
	})
}

// readChunks calls yield for every row from an offset up to the end of the
// partition. Rows must follow each other without a hole.
func (l *Log) readChunks(c *conn, p *part, from int64, yield func(*chunk) (bool, error)) error {
	next, stopped := from, false
	args := []any{chunkID(p.id, from), chunkID(p.id, mostOffset)}
	err := c.rows(`SELECT id, first, stored, crc, data FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id`, args, func(r *sql.Rows) (bool, error) {
		ch := chunk{place: p.place(0)}
		var id, sum int64
		if err := scan(r, &id, &ch.first, &ch.stored, &sum, &ch.data); err != nil {
			return false, err
		}
		ch.last, ch.sum = id&mostOffset, uint32(sum)
		if ch.first > next || ch.first < next && next != from || ch.last < next || ch.last >= p.end {
			return false, l.damaged(p.where(), fmt.Sprintf("offset %d should follow, and the next row holds %d to %d", next, ch.first, ch.last), nextRestore)
		}
		next = ch.last + 1
		more, err := yield(&ch)
		stopped = !more
		return more, err
	})
	if err == nil && !stopped && next != p.end {
		err = l.damaged(p.where(), fmt.Sprintf("offsets %d to %d are missing", next, p.end-1), nextRestore)
	}
	return l.explain(p.where(), err)
}

// read runs do in a read transaction on the connection for rare calls.
func (l *Log) read(group string, do func(*conn, *view) error) error {
	l.reader.Lock()
	defer l.reader.Unlock()
	if l.isClosed() {
		return l.errClosed()
	}
	if l.reader.conn == nil {
		c, err := l.connect()
		if err != nil {
			return l.explain("connect", err)
		}
		l.reader.conn = c
	}
	c := l.reader.conn
	err := l.readView(c, group, func(v *view) error { return do(c, v) })
	l.reader.conn = l.replaced(c, err)
	return l.explain("read", err)
}

// RebuildMarks makes the file of high marks anew from what the log at path
// holds. It is the decision to accept that the log may have lost its tail, or
// is an older copy: call it only when nobody has the log open, after copying
// what is there.
func RebuildMarks(path string) error {
	if _, err := os.Lstat(path); err != nil {
		return fmt.Errorf("filelog: rebuild marks: %w; give the path of a log that is there", err)
	}
	l, err := open(path, Config{}, true)
	if err != nil {
		return err
	}
	err = l.write(func(c *conn) error {
		parts, err := l.readParts(c)
		if err != nil {
			return err
		}
		if err := l.marks.locked(func() error { return l.marks.format(l.id) }); err != nil {
			return err
		}
		for _, list := range parts {
			if err := l.marks.reserve(l.id, list); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(l.explain("rebuild marks", err), l.closeFiles())
}
