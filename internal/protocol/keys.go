package protocol

import "slices"

// askKeys is step 3: the DedupKeys of all messages left, sorted, repeats inside
// the batch removed first.
func askKeys(w *Work) Action {
	first := make(map[ID]int)
	var claims []KeyClaim
	for i := range w.Items {
		it := &w.Items[i]
		if !it.HasDedup || it.Fate != Run && it.Fate != Waiting && it.Fate != Dead {
			continue
		}
		if j, ok := first[it.Dedup]; ok {
			it.Fate = Repeated
			if w.Items[j].Identity == it.Identity {
				it.Fate = Dropped // not the application sending twice
			}
			continue
		}
		first[it.Dedup] = i
		claims = append(claims, KeyClaim{it.Dedup, i})
	}
	slices.SortFunc(claims, func(a, b KeyClaim) int { return slices.Compare(a.Key[:], b.Key[:]) })
	w.Claims = claims
	return Action{Do: Keys, Claims: claims}
}

// hearKeys: winners stay Fresh. Losers are never set aside, but where a dead or
// parked row holds the key.
func hearKeys(w *Work, e Event) verdict {
	for i, a := range e.Keys {
		it := &w.Items[w.Claims[i].Item]
		switch {
		case a.Fresh:
		case a.Own:
			it.Fate = Dropped // this very message: redelivered, or our own COMMIT in doubt
		case a.Held:
			it.Fate, it.Cause = Dead, CauseKeyHeld
			it.Beside = true // that row does not own the key
		default:
			it.Fate = Repeated
		}
	}
	return goOn
}

// askQueues is step 4: Fresh messages whose Key has a row waiting are set aside
// behind it; their DedupKey stays. Nothing is stored as a pointer: it is read
// whenever it is needed. Messages behind one that fails in this very batch are
// found in step 5.
func askQueues(w *Work) Action {
	var keys []string
	for i := range w.Items {
		if it := &w.Items[i]; it.Fate == Run && it.Key != "" {
			keys = append(keys, it.Key)
		}
	}
	return Action{Do: Queues, Keys: distinct(keys)}
}

func hearQueues(w *Work, e Event) verdict {
	var early []string
	for i := range w.Items {
		it := &w.Items[i]
		q, ok := e.Queues[it.Key]
		if !ok || it.Key == "" || it.Fate != Run {
			continue
		}
		if q.First != 0 {
			it.Fate, it.Cause = Behind, CauseBehind
		} else if q.Early {
			early = append(early, it.Key)
		}
	}
	// What came too early is looked at again when another of its Key commits.
	w.Wake = distinct(early)
	return goOn
}

func distinct(keys []string) []string {
	seen := make(map[string]bool, len(keys))
	out := keys[:0:0]
	for _, k := range keys {
		if !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	return out
}
