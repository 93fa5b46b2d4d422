package id_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/id"
)

func ask(h http.Handler, method, target, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestService: text or JSON, as many as asked for, nothing that a cache keeps,
// and limits.
func TestService(t *testing.T) {
	store := open(t, filepath.Join(t.TempDir(), "ids.db"))
	h := id.Handler(newGenerator(t, id.Config{Marks: store}), id.ServiceConfig{Most: 50, Series: []string{"bills"}, Blocks: store})
	w := ask(h, "GET", "/next?n=10", "")
	lines := strings.Fields(w.Body.String())
	if w.Code != 200 || len(lines) != 10 || w.Header().Get("Cache-Control") != "no-store" || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Fatalf("%d %v\n%s", w.Code, w.Header(), w.Body)
	}
	for _, line := range lines {
		if _, err := id.Parse(line); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		w = ask(h, "POST", "/next?n=2&name=bills", "text/html, application/json;q=0.9")
		var got struct{ IDs []string }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.IDs) != 2 {
			t.Fatalf("%d %s (%v)", w.Code, w.Body, err)
		}
	}
	if w = ask(h, "GET", "/next?name=bills", "text/plain, application/json"); w.Body.String() != "5\n" {
		t.Fatalf("%d %q, want number 5", w.Code, w.Body)
	}
	for target, want := range map[string]int{"/next?n=0": 400, "/next?n=51": 400, "/next?n=x": 400, "/next?n=99999999999999999999": 400,
		"/next?name=other": 404, "/": 404, "/next/x": 404} {
		if w := ask(h, "GET", target, ""); w.Code != want {
			t.Errorf("%s: %d, want %d", target, w.Code, want)
		}
	}
	for _, method := range []string{"HEAD", "PUT", "DELETE"} {
		if w := ask(h, method, "/next", ""); w.Code != 405 || w.Body.Len() > 0 && method == "HEAD" {
			t.Errorf("%s: %d, want 405", method, w.Code)
		}
	}
	if w = ask(h, "GET", "/next?name=bills", ""); w.Body.String() != "6\n" {
		t.Fatalf("%q, want 6: what was refused took a number", w.Body)
	}
}

// TestServiceFails: a clock that is too far behind, and a store that is gone,
// are 503; what is inside stays inside.
func TestServiceFails(t *testing.T) {
	clock := &handClock{start}
	store := open(t, filepath.Join(t.TempDir(), "secret-ids.db"))
	var told []string
	h := id.Handler(newGenerator(t, id.Config{Clock: clock}), id.ServiceConfig{Series: []string{"bills"}, Blocks: store,
		OnError: func(err error) { told = append(told, err.Error()) }})
	if w := ask(h, "GET", "/next", ""); w.Code != 200 {
		t.Fatal(w.Code)
	}
	clock.now = clock.now.Add(-2 * time.Hour)
	if w := ask(h, "GET", "/next", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "clock") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if w := ask(h, "GET", "/next?name=bills", ""); w.Code != 503 || strings.Contains(w.Body.String(), "sql") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if len(told) != 2 || !strings.Contains(told[0], "before the newest id") {
		t.Fatalf("told %q", told)
	}
}
