package rollcall

import (
	"encoding/hex"
	"testing"
)

// TestOnceKeyFormat: a key that is recorded must be found by every later
// version of the library. Whoever changes this needs keyFormat and a look-up of both.
func TestOnceKeyFormat(t *testing.T) {
	key, content, err := OnceKey{Scope: "payments", Key: "k", Content: []byte(`{"b":1,"a":"x"}`)}.hash()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(key[:]), "492009be4ab5cb7b33868115173dda16"; got != want {
		t.Errorf("key %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(content[:]), "3b49aa9c7d65124ceb4f8e737122b830"; got != want {
		t.Errorf("content %s, want %s", got, want)
	}
	if _, none, _ := (OnceKey{Scope: "payments", Key: "k"}).hash(); none != (Fingerprint{}) {
		t.Errorf("no content has the fingerprint %x", none)
	}
	if _, empty, _ := (OnceKey{Scope: "payments", Key: "k", Content: []byte{}}).hash(); empty == (Fingerprint{}) {
		t.Error("empty content is not compared")
	}
}

// TestRecordKeyFormat is the same for what Record and Lock leave in the claims.
func TestRecordKeyFormat(t *testing.T) {
	r, err := newRecord(nil, OnceKey{Scope: "payments", Key: "k"}, RecordConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[string]string{
		roleRecord: "bd84f4caf5da093be5cb211f869e6d7e", roleAttempt: "0ef91b1237fdf061945e36363687785b",
		roleDecision: "20720ecdfefe1e0b582dcb79540fc180", roleReceiver: "67f02a5868d8a8bfe32d81b11e1a2140",
	} {
		key := r.at(role, 1)
		if got := hex.EncodeToString(key[:]); got != want {
			t.Errorf("%s: key %s, want %s", role, got, want)
		}
	}
	lock := LockKey{Scope: "payments", Name: "k"}.hash()
	if got, want := hex.EncodeToString(lock[:]), "de0b6ee6bf2e00977b1e9380d378aad2"; got != want {
		t.Errorf("lock: key %s, want %s", got, want)
	}
	row := recordRow{recordParked, Fingerprint{15: 7}, []byte("why")}.bytes()
	if got, want := hex.EncodeToString(row), "010300000000000000000000000000000007776879"; got != want {
		t.Errorf("row %s, want %s", got, want)
	}
}
