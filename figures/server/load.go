package server

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/rollcall-mq/rollcall"
)

// order is one effect.
type order struct {
	Number  int64
	Account int32
	Amount  int32
}

func (o order) body() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(o.Number))
	b = binary.BigEndian.AppendUint32(b, uint32(o.Account))
	return binary.BigEndian.AppendUint32(b, uint32(o.Amount))
}

func parse(b []byte) order {
	return order{int64(binary.BigEndian.Uint64(b)), int32(binary.BigEndian.Uint32(b[8:])), int32(binary.BigEndian.Uint32(b[12:]))}
}

// load is the deliveries of a figure, and the orders that are in them.
type load struct {
	parts    [][]rollcall.Message // dealt by account
	distinct [][]order            // without the repeats, dealt the same way
	n        int                  // deliveries
	orders   int
	sum      int64
}

const (
	destination = "orders"
	accounts    = 1000
)

const began = 1_767_225_600_000 // 2026, in milliseconds

// id is a UUID version 7, as senders give by default: a hundred a millisecond.
func id(i int, random *rand.Rand) rollcall.MessageID {
	at := began + i/100
	return rollcall.MessageID(fmt.Sprintf("%08x-%04x-7%03x-8%03x-%012x", at>>16, at&0xffff, random.IntN(1<<12), random.IntN(1<<12), random.Int64N(1<<48)))
}

// later moves the time in all ids, so that they are new again.
func (l *load) later(ms int) {
	for _, part := range l.parts {
		for i := range part {
			id := string(part[i].ID)
			at, err := strconv.ParseInt(id[:8]+id[9:13], 16, 64)
			if err != nil {
				panic(err) // newLoad made it
			}
			at += int64(ms)
			part[i].ID = rollcall.MessageID(fmt.Sprintf("%08x-%04x", at>>16, at&0xffff) + id[13:])
		}
	}
}

// randomIDs makes ids of which the time cannot be seen.
func (l *load) randomIDs() {
	for _, part := range l.parts {
		for i := range part {
			part[i].ID = "order-" + part[i].ID
		}
	}
}

// newLoad is the same for the same arguments. distinct: no repeats.
func newLoad(n, parts int, distinct bool) *load {
	l := &load{parts: make([][]rollcall.Message, parts), distinct: make([][]order, parts), n: n}
	random := rand.New(rand.NewPCG(1, 2))
	life := rollcall.NewLife()
	numbers := make([]uint64, parts)
	var all []rollcall.Message
	for i := range n {
		if !distinct && i%5 == 4 {
			at := random.IntN(len(all)) // anywhere
			if i%10 == 4 {
				at = len(all) - 1 - random.IntN(min(len(all), 200)) // lately
			}
			m := all[at]
			l.parts[m.Partition] = append(l.parts[m.Partition], m)
			continue
		}
		o := order{Number: int64(i), Account: int32(random.IntN(accounts)), Amount: int32(1 + random.IntN(100))}
		part := int(o.Account) % parts
		numbers[part]++
		m := rollcall.Message{ID: id(i, random), Key: fmt.Sprint(o.Account), Partition: int32(part), Body: o.body(),
			Stamp: rollcall.Stamp{Life: life, Lane: uint32(part), Sequence: numbers[part], Origin: rollcall.OriginOf(destination)}}
		all = append(all, m)
		l.parts[part] = append(l.parts[part], m)
		l.distinct[part] = append(l.distinct[part], o)
		l.orders++
		l.sum += int64(o.Amount)
	}
	return l
}
