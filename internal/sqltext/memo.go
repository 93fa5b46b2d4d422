package sqltext

import "sync"

const (
	memoTexts = 1000    // a program has few statements; one that makes them up has no end
	memoText  = 4 << 10 // bytes of the longest that is kept
)

// Memo remembers what was found in texts. The zero value is ready.
type Memo[V any] struct {
	mu   sync.RWMutex
	said map[string]V
}

// Of is find(text), which must depend on the text alone.
func (m *Memo[V]) Of(text string, find func(string) V) V {
	m.mu.RLock()
	v, known := m.said[text]
	m.mu.RUnlock()
	if known {
		return v
	}
	v = find(text)
	if len(text) > memoText {
		return v
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.said == nil || len(m.said) >= memoTexts {
		m.said = make(map[string]V)
	}
	m.said[text] = v
	return v
}
