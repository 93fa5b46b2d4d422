package rollcall

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mustKeyer(t interface {
	Fatal(...any)
}, group string, names ...string) *keyer {
	k, err := newKeyer(group, names)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestDedupKeys(t *testing.T) {
	body := func(s string) *Message { return &Message{ID: "id", Key: "key", Body: []byte(s)} }
	k := mustKeyer(t, "g", "payload.a", "payload.b")
	base, missing := k.key(body(`{"a":"x","b":"y"}`))
	if missing != "" {
		t.Fatal(missing)
	}
	same, _ := k.key(body(` { "b" : "y", "a":"x", "c": 3 }`))
	if same != base {
		t.Error("order and other members change the key")
	}
	for name, other := range map[string]string{
		"moved border": `{"a":"xy","b":""}`, "swapped": `{"a":"y","b":"x"}`, "number": `{"a":1,"b":"y"}`, "case": `{"a":"X","b":"y"}`,
		"space": `{"a":"x ","b":"y"}`, "border": `{"a":"x\u0000","b":"y"}`,
	} {
		if key, miss := k.key(body(other)); miss == "" && key == base {
			t.Errorf("%s: the same key", name)
		}
	}
	one, _ := mustKeyer(t, "g", "payload.a").key(body(`{"a":1}`))
	text, _ := mustKeyer(t, "g", "payload.a").key(body(`{"a":"1"}`))
	if one == text {
		t.Error(`1 and "1" have the same key`)
	}
	if other, _ := mustKeyer(t, "h", "payload.a", "payload.b").key(body(`{"a":"x","b":"y"}`)); other == base {
		t.Error("two groups share a key")
	}
	for _, empty := range []string{`{}`, `{"a":"x"}`, `{"a":"x","b":""}`, `{"a":"x","b":null}`, `not json`, ``} {
		if _, missing := k.key(body(empty)); missing == "" {
			t.Errorf("%q has a key: all such messages would be equal", empty)
		}
	}
}

// TestKeyPartsAreInjective: different lists of values never have the same key.
func TestKeyPartsAreInjective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := mustKeyer(t, "g", "id", "key", "header.h")
		draw := func(label string) *Message {
			part := rapid.StringMatching(`[ab\x00]{1,3}`)
			return &Message{ID: MessageID(part.Draw(t, label+"id")), Key: part.Draw(t, label+"key"),
				Headers: []Header{{"h", []byte(part.Draw(t, label+"h"))}}}
		}
		a, b := draw("a"), draw("b")
		same := a.ID == b.ID && a.Key == b.Key && string(a.Headers[0].Value) == string(b.Headers[0].Value)
		ka, _ := k.key(a)
		kb, _ := k.key(b)
		if (ka == kb) != same {
			t.Fatalf("%+v and %+v: same key %v", a, b, ka == kb)
		}
	})
}

func TestIdentity(t *testing.T) {
	life := NewLife()
	m := Message{ID: "a", Destination: "d", Body: []byte("x"), Stamp: Stamp{Life: life, Sequence: 1}}
	at := Position{Incarnation: Incarnation{1}, Offset: 3}
	base := identify(&m, at)
	if identify(&m, Position{}) != base {
		t.Error("a stamped message has another identity at another position")
	}
	other := m
	other.Stamp.Sequence = 2
	bare := Message{ID: "a", Destination: "d", Body: []byte("x")}
	corrected := Message{ID: "a", Destination: "d", Body: []byte("y")}
	all := []Identity{base, identify(&other, at), identify(&bare, at), identify(&bare, Position{Incarnation: Incarnation{1}, Offset: 4}),
		identify(&bare, Position{}), identify(&corrected, Position{})}
	seen := make(map[Identity]int)
	for i, id := range all {
		if j, again := seen[id]; again {
			t.Errorf("messages %d and %d have one identity", i, j)
		}
		seen[id] = i
	}
}

func TestRecorder(t *testing.T) {
	replay := Capabilities{Broker: "b", Positions: true, Exclusive: true}
	for name, c := range map[string]struct {
		config DedupConfig
		can    Capabilities
		says   string
	}{
		"position on a queue":  {DedupConfig{By: []Strategy{ByPosition}}, Capabilities{Broker: "queue"}, "no positions"},
		"unknown strategy":     {DedupConfig{By: []Strategy{"fingerprint"}}, replay, "fingerprint"},
		"none beside another":  {DedupConfig{By: []Strategy{ByNone, ByStamp}}, replay, "stands alone"},
		"key that nobody uses": {DedupConfig{By: []Strategy{ByStamp}, Key: []string{"id"}}, replay, "does not use it"},
		"unknown part":         {DedupConfig{By: []Strategy{ByAuto}, Key: []string{"body"}}, replay, "dedup.key[0]"},
		"bad path":             {DedupConfig{By: []Strategy{ByAuto}, Key: []string{"payload..a"}}, replay, "dedup.key[0]"},
	} {
		_, err := newRecorder("g", c.config, c.can)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want a configuration error that says %q", name, err, c.says)
		}
	}
}

func TestAutoClaimsOwnIDs(t *testing.T) {
	r, err := newRecorder("g", DedupConfig{By: []Strategy{ByAuto}}, Capabilities{Positions: true})
	if err != nil {
		t.Fatal(err)
	}
	minted := Message{ID: "x", Stamp: Stamp{Sequence: 1}}
	own := Message{ID: "x", Stamp: Stamp{Sequence: 1, OwnID: true}}
	known := Message{ID: "x", Headers: []Header{{"Idempotency-Key", []byte("x")}}}
	for m, want := range map[*Message]bool{&minted: false, &own: true, &known: true, {ID: "x"}: true, {}: false} {
		if _, has, _ := r.dedupKey(m); has != want {
			t.Errorf("%+v: has a key %v, want %v", m, has, want)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := ConsumerConfig{}.withDefaults()
	if c.Batch != 500 || c.Retry.Attempts != 5 || c.Dedup.Window != 14*24*time.Hour || c.Parallel != 1 || c.Clock == nil || c.Observer == nil {
		t.Fatalf("%+v", c)
	}
}

// TestKeysOfUUIDsAreOrdered: keys of UUIDs version 7 sort by their time, wherever
// in the key they stand, and every byte of the id still counts.
func TestKeysOfUUIDsAreOrdered(t *testing.T) {
	const early, late = "018f0a1b-2c3d-7e4f-8a5b-6c7d8e9f0a1b", "018f0a1b-2c3e-7000-8000-000000000000"
	for _, names := range [][]string{{"id"}, {"payload.a"}, {"key", "payload.a"}} {
		k := mustKeyer(t, "g", names...)
		key := func(id string) DedupKey {
			got, missing := k.key(&Message{ID: MessageID(id), Key: "k", Body: []byte(`{"a":"` + id + `"}`)})
			if missing != "" {
				t.Fatal(missing)
			}
			return got
		}
		a, b := key(early), key(late)
		if string(a[:6]) != "\x01\x8f\x0a\x1b\x2c\x3d" || string(a[:]) >= string(b[:]) {
			t.Errorf("%v: keys %x and %x are not in the order of time", names, a, b)
		}
		for _, other := range []string{strings.ToUpper(early), early[:35] + "c", early[:19] + "9" + early[20:]} {
			if o := key(other); o == a || string(o[:6]) != string(a[:6]) {
				t.Errorf("%v: %s has key %x beside %x of %s", names, other, o, a, early)
			}
		}
		for _, plain := range []string{"018f0a1b-2c3d-4e4f-8a5b-6c7d8e9f0a1b", "018f0a1b_2c3d-7e4f-8a5b-6c7d8e9f0a1b", "zzzzzzzz-2c3d-7e4f-8a5b-6c7d8e9f0a1b",
			early + "0"} {
			if o := key(plain); string(o[:4]) == "\x01\x8f\x0a\x1b" {
				t.Errorf("%v: %s is no UUID of version 7 and has key %x", names, plain, o)
			}
		}
	}
}
