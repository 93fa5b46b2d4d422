package filelog

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/rollcall-mq/rollcall"
)

// view is the table of partitions as a connection last read it, good as long
// as the connection's data version stays.
type view struct {
	version int64
	known   bool
	parts   map[string][]*part // by destination; the index is the number
	leases  map[int64]lease    // of the group asked for, by partition id
	group   string
}

func (v *view) forget() { *v = view{} }

// readView runs do inside a read transaction, with a view that belongs to it.
func (l *Log) readView(c *conn, group string, do func(*view) error) error {
	if err := l.beginRead(c, group); err != nil {
		return err
	}
	err := do(&c.view)
	c.rollback() // nothing was written
	return err
}

// beginRead starts a read transaction. The marks are read before it: what they
// say was committed then, so the transaction must see it. A partition created
// in between has a younger mark than was read; that settles itself.
func (l *Log) beginRead(c *conn, group string) error {
	for try := 0; ; try++ {
		fresh, err := c.beginKnown(group)
		if err != nil || fresh {
			return err
		}
		err = l.beginFresh(c, group)
		if err == nil || try == 2 || !errors.Is(err, rollcall.ErrDamaged) {
			return err
		}
	}
}

// beginKnown starts a read transaction if the view is still good for it.
func (c *conn) beginKnown(group string) (bool, error) {
	if !c.view.known || c.view.group != group {
		return false, nil
	}
	if _, err := c.exec("BEGIN"); err != nil {
		return false, err
	}
	version, err := c.version()
	if err == nil && c.view.version == version {
		return true, nil
	}
	c.rollback()
	return false, err
}

func (l *Log) beginFresh(c *conn, group string) error {
	table, err := l.loadMarks()
	if err != nil {
		return err
	}
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	if err := l.fillView(c, group, table); err != nil {
		c.rollback()
		return err
	}
	return nil
}

// writeView is the view inside a write transaction, in which nobody else can
// commit, so the marks may be read any time.
func (l *Log) writeView(c *conn) (*view, error) {
	version, err := c.version()
	if err != nil || c.view.known && c.view.version == version {
		return &c.view, err
	}
	table, err := l.loadMarks()
	if err != nil {
		return nil, err
	}
	return &c.view, l.fillView(c, "", table)
}

func (l *Log) loadMarks() (markTable, error) {
	table, err := l.marks.load(l.id)
	if err != nil {
		return nil, l.damaged("", "its high marks, "+l.marks.path+": "+err.Error(), nextMarks)
	}
	return table, nil
}

func (l *Log) fillView(c *conn, group string, table markTable) error {
	c.view.forget()
	version, err := c.version()
	if err != nil {
		return err
	}
	parts, err := l.readParts(c)
	if err != nil {
		return err
	}
	if err := l.checkMarks(parts, table); err != nil {
		return err
	}
	var leases map[int64]lease
	if group != "" {
		if leases, err = readLeases(c, group); err != nil {
			return err
		}
	}
	c.view = view{version: version, known: true, parts: parts, leases: leases, group: group}
	return nil
}

// readParts reads and verifies the whole table of partitions.
func (l *Log) readParts(c *conn) (map[string][]*part, error) {
	parts := make(map[string][]*part)
	err := c.rows(`SELECT id, destination, number, total, incarnation, first, end, crc FROM partitions ORDER BY id`, nil,
		func(r *sql.Rows) (bool, error) {
			var p part
			var sum int64
			var destination, incarnation []byte
			if err := scan(r, &p.id, &destination, &p.number, &p.total, &incarnation, &p.first, &p.end, &sum); err != nil {
				return false, err
			}
			p.destination = string(destination)
			copy(p.incarnation[:], incarnation)
			list := parts[p.destination]
			if int64(partSum(&p)) != sum || len(incarnation) != len(p.incarnation) || int(p.number) != len(list) {
				return false, l.damaged(fmt.Sprintf("row %d of the table of partitions", p.id), "it is not what was written", nextRestore)
			}
			parts[p.destination] = append(list, &p)
			return true, nil
		})
	if err != nil {
		return nil, err
	}
	for _, list := range parts {
		if want := int(list[0].total); want != len(list) {
			return nil, l.damaged(fmt.Sprintf("destination %q", list[0].destination),
				fmt.Sprintf("%d of its %d partitions are there", len(list), want), nextRestore)
		}
	}
	return parts, nil
}

// checkMarks compares ends with the high marks.
func (l *Log) checkMarks(parts map[string][]*part, table markTable) error {
	for _, list := range parts {
		for _, p := range list {
			m, err := table.at(p.id)
			if err != nil {
				return l.damaged(p.where(), "its high mark in "+l.marks.path+": "+err.Error(), nextMarks)
			}
			if m.incarnation != p.incarnation && p.id < table.slots() {
				return l.damaged(p.where(), "its high mark in "+l.marks.path+" is of another incarnation: log and marks are not of one time", nextMarks)
			}
			if p.end < m.end {
				return l.damaged(p.where(), fmt.Sprintf(
					"offsets %d to %d were acknowledged and are gone: it ends at %d and should end at %d or later; "+
						"the log or its -wal file was truncated, or an older copy was restored", p.end, m.end-1, p.end, m.end), nextMarks)
			}
		}
	}
	return nil
}

// writePart stores a row of the table of partitions anew.
func writePart(c *conn, p *part) error {
	_, err := c.exec(`INSERT OR REPLACE INTO partitions (id, destination, number, total, incarnation, first, end, crc)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		p.id, []byte(p.destination), p.number, p.total, p.incarnation[:], p.first, p.end, int64(partSum(p)))
	return err
}
