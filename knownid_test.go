package rollcall

import "testing"

func TestKnownID(t *testing.T) {
	const a, b = "6f1c2f0e-1f7a-4a53-9c7d-1b8b6f1d2e3f", "0f1c2f0e-1f7a-4a53-9c7d-1b8b6f1d2e3f"
	h := func(pairs ...string) (out []Header) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, Header{pairs[i], []byte(pairs[i+1])})
		}
		return out
	}
	cases := []struct {
		name    string
		headers []Header
		want    MessageID
	}{
		{"none", h("a", "b"), ""},
		{"rollcall", h("rollcall-id", "x", "Idempotency-Key", "y"), "x"},
		{"idempotency key", h("Idempotency-Key", "y"), "y"},
		{"empty", h("Idempotency-Key", ""), ""},
		{"twice the same", h("Idempotency-Key", "y", "Idempotency-Key", "y"), "y"},
		{"twice", h("Idempotency-Key", "y", "Idempotency-Key", "z"), ""},
		{"CloudEvents", h("ce_id", "1", "ce_source", "/shop"), "/shop 1"},
		{"CloudEvents without a source", h("ce_id", "1"), ""},
		{"Debezium", h("id", a), a},
		{"Debezium twice", h("id", a, "id", b), ""},
		{"a customer's number", h("id", "4711"), ""},
	}
	for _, c := range cases {
		got, ok := KnownID(&Message{Headers: c.headers})
		if got != c.want && c.want != "" || ok != (c.want != "") {
			t.Errorf("%s: got %q %v, want %q", c.name, got, ok, c.want)
		}
	}
}
