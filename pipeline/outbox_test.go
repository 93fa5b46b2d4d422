package pipeline

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-mq/rollcall"
)

// rowsOnly keeps what is enqueued.
type rowsOnly struct {
	rollcall.Outbox[int]
	rows []rollcall.Message
}

func (r *rowsOnly) Enqueue(_ context.Context, _ int, ms []rollcall.Message) error {
	r.rows = append(r.rows, ms...)
	return nil
}

// TestPublishRows: what is sent on is the message, without its place and its stamp,
// so that the relay gives it new ones; one without the key is dead and has no row.
func TestPublishRows(t *testing.T) {
	const text = `
name: shop
source: {embedded: {destination: orders}}
store: {sqlite: {}}
effect:
  - publish: {destination: done}
  - publish: {destination: customers, key: payload.customer}
`
	f, err := Parse("rollcall.yaml", []byte(text), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	var out rowsOnly
	stamp := rollcall.Stamp{Life: rollcall.NewLife(), Lane: 3, Sequence: 7, Origin: 9}
	in := rollcall.Message{ID: "m-1", Destination: "orders", Partition: 3, Key: "k", Stamp: stamp, Body: []byte(`{"customer": 12.50}`),
		Headers: []rollcall.Header{{Name: "trace", Value: []byte("1")}, {Name: "rollcall-x", Value: []byte("2")}, {Name: "trace", Value: []byte("3")}}}
	lacking := rollcall.Message{ID: "m-2", Key: "k", Body: []byte(`{}`)}
	outcomes, err := WithOutbox(f, &out, nil, nil)(t.Context(), 0, []rollcall.Message{in, lacking})
	if err != nil || len(outcomes) != 2 || outcomes[0] != nil || outcomes[1] == nil {
		t.Fatalf("%v %v, want the second to be dead", outcomes, err)
	}
	row := rollcall.Message{ID: "m-1", Destination: "done", Key: "k", Body: in.Body, Stamp: stamp, Partition: rollcall.Unpicked,
		Headers: []rollcall.Header{{Name: "trace", Value: []byte("1")}, {Name: "trace", Value: []byte("3")}}}
	keyed := row
	keyed.Destination, keyed.Key = "customers", "12.50"
	if diff := cmp.Diff([]rollcall.Message{row, keyed}, out.rows); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestPublishPasswordIsHidden: as that of the source.
func TestPublishPasswordIsHidden(t *testing.T) {
	const text = `
name: shop
source: {embedded: {destination: orders}}
store: {sqlite: {}}
effect: {publish: {destination: done, kafka: {brokers: ["k:1"], sasl: {mechanism: SCRAM-SHA-512, user: u, password: "s3cr3t word"}}}}
`
	f, err := Parse("rollcall.yaml", []byte(text), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Redactor().Text("SASL s3cr3t word"); got != "SASL ***" {
		t.Error(got)
	}
}
