package filelog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/rollcall-mq/rollcall"
)

// Create makes a destination. If it is there with as many partitions, nothing
// is changed; with another number it is ErrConfig (see Raise). ErrDamaged and
// errors of the disk mean that it was not made.
func (l *Log) Create(ctx context.Context, destination string, partitions int) error {
	return l.shape(ctx, "create", destination, partitions, func(have int) (bool, error) {
		if have == 0 || have == partitions {
			return have == 0, nil
		}
		return false, configError("Partitions", partitions, fmt.Sprintf("destination %q has %d; use Raise to add some", destination, have))
	})
}

// Raise adds partitions to a destination, up to a total. Keys then go to other
// partitions than before, so messages of one key may be out of order around
// it. Fewer than there are is ErrConfig. ErrNoDestination if it is not there.
func (l *Log) Raise(ctx context.Context, destination string, partitions int) error {
	return l.shape(ctx, "raise", destination, partitions, func(have int) (bool, error) {
		if have == 0 {
			return false, l.noDestination(destination)
		}
		if have > partitions {
			return false, configError("Partitions", partitions, fmt.Sprintf("destination %q has %d; partitions cannot be taken away", destination, have))
		}
		return have < partitions, nil
	})
}

// ensure creates a destination for who wants to use it.
func (l *Log) ensure(ctx context.Context, destination string) error {
	return l.shape(ctx, "create", destination, l.config.Partitions, func(have int) (bool, error) {
		if have == 0 && l.config.NoCreate {
			return false, l.noDestination(destination)
		}
		return have == 0, nil
	})
}

func (l *Log) noDestination(destination string) error {
	return fmt.Errorf("%w: %q in %s; create it, or publish to one of those that are there", rollcall.ErrNoDestination, destination, l.path)
}

// shape makes partitions up to a total, if decide says so.
func (l *Log) shape(ctx context.Context, verb, destination string, total int, decide func(have int) (bool, error)) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	if destination == "" {
		return fmt.Errorf("%w: filelog: a destination needs a name", rollcall.ErrConfig)
	}
	if err := checkPartitions(total); err != nil {
		return err
	}
	err := l.write(func(c *conn) error {
		v, err := l.writeView(c)
		if err != nil {
			return err
		}
		more, err := decide(len(v.parts[destination]))
		if err != nil || !more {
			return err
		}
		parts, err := extended(v, destination, total)
		if err != nil {
			return err
		}
		defer v.forget()
		if err := l.marks.reserve(l.id, parts[len(v.parts[destination]):]); err != nil {
			return err
		}
		for _, p := range parts {
			if err := writePart(c, p); err != nil {
				return err
			}
		}
		return nil
	})
	l.changed.raise()
	return l.explain(verb+" destination "+destination, err)
}

// extended is the list of partitions up to a total, in new rows.
func extended(v *view, destination string, total int) ([]*part, error) {
	have := v.parts[destination]
	var incarnation rollcall.Incarnation
	if len(have) > 0 {
		incarnation = have[0].incarnation
	} else if _, err := rand.Read(incarnation[:]); err != nil {
		return nil, err
	}
	used := make(map[int64]bool)
	for list := range maps.Values(v.parts) {
		for _, p := range list {
			used[p.id] = true
		}
	}
	out := make([]*part, 0, total)
	for _, p := range have {
		p := *p
		p.total = int32(total)
		out = append(out, &p)
	}
	for id := int64(1); len(out) < total; id++ {
		if used[id] {
			continue
		}
		if id > mostID {
			return nil, fmt.Errorf("filelog: a log holds at most %d partitions; delete destinations or use a second log", mostID)
		}
		out = append(out, &part{id: id, destination: destination, number: int32(len(out)), total: int32(total), incarnation: incarnation})
	}
	return out, nil
}

// Delete removes a destination and its messages. One that is created again
// under the name has another incarnation. ErrNoDestination if it is not there.
func (l *Log) Delete(ctx context.Context, destination string) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	var gone []*part
	err := l.write(func(c *conn) error {
		v, err := l.writeView(c)
		if err != nil {
			return err
		}
		gone = slices.Clone(v.parts[destination])
		if len(gone) == 0 {
			return l.noDestination(destination)
		}
		defer v.forget()
		if err := l.marks.flag(gone, true); err != nil {
			return err
		}
		return deleteParts(c, gone)
	})
	if err != nil {
		if len(gone) > 0 && !isCommit(err) {
			err = errors.Join(err, l.marks.flag(gone, false))
		}
		return l.explain("delete destination "+destination, err)
	}
	l.changed.raise()
	return nil
}

func deleteParts(c *conn, parts []*part) error {
	for _, p := range parts {
		if _, err := c.exec(`DELETE FROM chunks WHERE id BETWEEN ? AND ?`, chunkID(p.id, 0), chunkID(p.id, mostOffset)); err != nil {
			return err
		}
		for _, q := range []string{`DELETE FROM partitions WHERE id = ?`, `DELETE FROM leases WHERE part = ?`, `DELETE FROM settled WHERE part = ?`} {
			if _, err := c.exec(q, p.id); err != nil {
				return err
			}
		}
	}
	return nil
}

// ready reports why nothing can be done now.
func (l *Log) ready(ctx context.Context) error {
	if l.isClosed() {
		return l.errClosed()
	}
	return ctx.Err()
}
