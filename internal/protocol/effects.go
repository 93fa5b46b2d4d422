package protocol

// effects is how far step 5 has come.
type effects struct {
	Begun   bool
	Todo    []int // carefully: not yet in a chunk
	Singles []int // of a chunk in which one failed, still to run
	Asked   []int // whom the last action ran
	Chunk   bool  // it was a chunk with a savepoint of its own
	Single  bool  // it was one by itself, with a savepoint of its own
	Undoing bool  // the last action was Undo
	Blocked map[string]bool
}

// askEffects is step 5. Handlers run without savepoints first, since nearly all
// batches succeed. When some fail, and it is known which, all is undone and done
// again with those after the others, by themselves. If that fails too, or it is
// not known, it is done carefully: in chunks with a savepoint each, and the
// messages of a chunk in which one failed singly. A failed message never takes
// its batch with it; the later ones of its Key are set aside behind it.
func askEffects(w *Work) Action {
	f := &w.Effects
	if f.Undoing {
		return Action{Do: Undo}
	}
	if !f.Begun {
		f.Begun = true
		f.Blocked = make(map[string]bool)
		behindPlanned(w.Items)
		f.Todo = runnable(w.Items)
		if !w.Careful && w.Kind == OfBatch && len(f.Todo) > 1 {
			if f.Asked, f.Todo = w.together(f.Todo); len(f.Asked) > 0 {
				return Action{Do: Effects, Items: f.Asked}
			}
		}
	}
	for len(f.Singles) == 0 && len(f.Todo) > 0 {
		n := min(w.Config.Chunk, len(f.Todo))
		part := w.notBlocked(f.Todo[:n])
		f.Todo = f.Todo[n:]
		if len(part) > 1 && !w.Singly {
			f.Asked, f.Chunk, f.Single = part, true, false
			return Action{Do: Effects, Items: part, Savepoint: true}
		}
		f.Singles = part
	}
	for len(f.Singles) > 0 {
		i := f.Singles[0]
		f.Singles = f.Singles[1:]
		if it := &w.Items[i]; f.Blocked[it.Key] {
			it.Fate, it.Cause = Behind, CauseBehind
			continue
		}
		f.Asked, f.Chunk, f.Single = []int{i}, false, true
		return Action{Do: Effects, Items: f.Asked, Savepoint: true}
	}
	f.Asked = nil
	return Action{Do: Effects}
}

func hearEffects(w *Work, e Event) verdict {
	f := &w.Effects
	switch {
	case f.Undoing:
		f.Undoing = false
		return w.undone(e)
	case len(f.Asked) == 0:
		if len(f.Todo)+len(f.Singles) > 0 {
			return stay
		}
		return goOn
	case len(f.Asked) > 1 || !f.Single:
		return w.ranTogether(e)
	}
	it := &w.Items[f.Asked[0]]
	outcome := e.Outcomes[0]
	w.decide(it, outcome)
	if outcome.Kind != TookEffect && it.Fate != Stale && it.Fate != Filtered {
		f.Undoing = true
	}
	if it.Fate == Waiting && it.Key != "" {
		f.Blocked[it.Key] = true
	}
	return stay
}

// together splits what is to run into those that can run without savepoints, and
// those that failed so, with the later ones of their Keys.
func (w *Work) together(todo []int) (first, rest []int) {
	held := make(map[string]bool)
	for _, i := range todo {
		it := &w.Items[i]
		if it.Apart || it.Key != "" && held[it.Key] {
			held[it.Key] = true
			rest = append(rest, i)
		} else {
			first = append(first, i)
		}
	}
	return first, rest
}

// takeApart marks the messages that failed among others, and reports whether
// that promises anything: once, and if they are few.
func (w *Work) takeApart(outcomes []Outcome) bool {
	if w.Parted {
		return false
	}
	w.Parted = true
	var failed []int
	for i, o := range outcomes {
		if w.leftTraces([]Outcome{o}) {
			failed = append(failed, w.Effects.Asked[i])
		}
	}
	if len(failed) == 0 || len(failed) > w.Config.Chunk {
		return false
	}
	for _, i := range failed {
		w.Items[i].Apart = true
	}
	return true
}

// ranTogether: several ran, all of one chunk or all there are. It decides the
// fate of each if none failed.
func (w *Work) ranTogether(e Event) verdict {
	f := &w.Effects
	if e.Broken || w.leftTraces(e.Outcomes) {
		if !f.Chunk {
			w.Careful = !w.takeApart(e.Outcomes)
			return again
		}
		f.Undoing = true
		return stay
	}
	for i, item := range f.Asked {
		w.decide(&w.Items[item], e.Outcomes[i])
	}
	return stay
}

// leftTraces: an outcome may have left something in the transaction that must
// not stay. A batch handler promises that Early and Repeated have not.
func (w *Work) leftTraces(outcomes []Outcome) bool {
	for _, o := range outcomes {
		if o.waits() || w.Config.Traces && (o.Kind == SaysEarly || o.Kind == SaysRepeated) {
			return true
		}
	}
	return false
}

// undone follows an Undo.
func (w *Work) undone(e Event) verdict {
	f := &w.Effects
	switch {
	case f.Chunk && e.Broken:
		// The failure took the whole transaction with it. Which message it was
		// is found one by one.
		w.Singly = true
		return again
	case f.Chunk:
		f.Singles = f.Asked
	case e.Broken:
		// The same for a single one (SQLite does so when a statement is
		// interrupted). What was decided stays decided.
		it := &w.Items[f.Asked[0]]
		it.Planned = it.Fate
		return again
	}
	return stay
}

// decide turns the outcome of a handler into the message's fate.
func (w *Work) decide(it *Item, o Outcome) {
	switch {
	case o.Kind == TookEffect:
		it.Fate = Applied
	case o.Kind == SaysStale:
		it.Fate = Stale
	case o.Kind == SaysFiltered:
		it.Fate = Filtered
	case o.Kind == SaysRepeated:
		it.Fate = Repeated
	case o.Kind == SaysEarly:
		it.Fate, it.Cause = Early, o.Cause
	case o.Kind == SaysDead, it.Attempts+1 >= w.Config.Attempts:
		it.Fate, it.Cause = Dead, o.Cause
	default:
		it.Fate, it.Cause, it.Again = Waiting, o.Cause, o.Again
	}
}

// behindPlanned sets aside what comes after a message that failed in an earlier
// try of this very batch.
func behindPlanned(items []Item) {
	blocked := make(map[string]bool)
	for i := range items {
		it := &items[i]
		switch {
		case it.Key == "":
		case it.Fate == Waiting:
			blocked[it.Key] = true
		case it.Fate == Run && blocked[it.Key]:
			it.Fate, it.Cause = Behind, CauseBehind
		}
	}
}

// notBlocked sets the messages of blocked Keys aside and returns the others.
func (w *Work) notBlocked(items []int) []int {
	out := make([]int, 0, len(items))
	for _, i := range items {
		it := &w.Items[i]
		if w.Effects.Blocked[it.Key] {
			it.Fate, it.Cause = Behind, CauseBehind
			continue
		}
		out = append(out, i)
	}
	return out
}

// runnable are the items that still are to take effect.
func runnable(items []Item) []int {
	var out []int
	for i := range items {
		if items[i].Fate == Run {
			out = append(out, i)
		}
	}
	return out
}
