package protocol

import (
	"hash/fnv"

	"github.com/rollcall-mq/rollcall/internal/interval"
)

// Plan is step 1: what the loaded rolls call Known, and what repeats a stamp or
// position earlier in the same batch, is dropped; Unknown is parked. It takes no
// locks. rolls is the batch's table; a nil roll is empty.
func Plan(items []Item, rolls []*interval.Set) {
	var seen map[firstMark]int
	if !rising(items, len(rolls)) {
		seen = make(map[firstMark]int, len(items))
	}
	for i := range items {
		it := &items[i]
		for j := range it.Marks[:it.NMarks] {
			m := &it.Marks[j]
			says := answer(rolls, *m)
			m.Known = says == interval.Known
			if !m.Decides {
				continue
			}
			first, repeats := seen[firstMark{m.Roll, m.Number}]
			switch {
			case repeats:
				it.Planned, it.Original = Dropped, first
			case says == interval.Known:
				it.Planned = Dropped
			case says == interval.Unknown && it.Planned == Run:
				it.Planned, it.Cause = Unknown, CauseUnknown
			}
			if seen != nil && !repeats {
				seen[firstMark{m.Roll, m.Number}] = i
			}
		}
	}
}

type firstMark struct {
	roll   int
	number uint64
}

// rising reports whether the deciding numbers of each roll rise, as they nearly
// always do: then none of them repeats another.
func rising(items []Item, rolls int) bool {
	high := make([]uint64, rolls)
	for i := range items {
		for _, m := range items[i].Marks[:items[i].NMarks] {
			if !m.Decides {
				continue
			}
			if m.Number <= high[m.Roll] {
				return false
			}
			high[m.Roll] = m.Number
		}
	}
	return true
}

// suspects are the messages that can have been in work when a worker ended: on
// positions the budget says how many that were at most, and is used up by the
// first batches; elsewhere what the broker redelivers.
func (b *Batch) suspects() []Item {
	var out []Item
	for i := range b.Items {
		it := &b.Items[i]
		if it.Planned == Dropped {
			continue
		}
		switch {
		case it.Positioned:
			if b.Budget <= 0 {
				continue
			}
			b.Budget--
		case !it.Redelivered:
			continue
		}
		if it.Planned == Run {
			out = append(out, *it)
		}
	}
	return out
}

// deal splits a part by Key. A copy goes where its original goes: its numbers
// must not enter a roll before the original's effect is in a transaction.
func (b *Batch) deal(w Work) []Work {
	hands := b.Config.Hands
	if hands <= 1 || len(w.Items) < 2 {
		return []Work{w}
	}
	out := make([]Work, hands)
	for i := range out {
		out[i] = w
		out[i].Items = nil
		if i > 0 {
			out[i].Covered = nil
		}
	}
	for i := range w.Items {
		it := &w.Items[i]
		if it.Original >= 0 {
			it.Hand = b.Items[it.Original].Hand
		} else if it.Hand = it.Index % hands; it.Key != "" {
			it.Hand = hand(it.Key, hands)
		}
		b.Items[it.Index].Hand = it.Hand
		out[it.Hand].Items = append(out[it.Hand].Items, *it)
	}
	return out
}

func hand(key string, hands int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return int(h.Sum32() % uint32(hands))
}
