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
