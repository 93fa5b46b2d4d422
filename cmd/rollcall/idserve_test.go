package main

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// listening waits until the service says where it listens, and returns that.
func listening(t *testing.T, c *child) string {
	t.Helper()
	var url string
	eventually(t, "the service to listen", func() bool {
		_, after, found := strings.Cut(c.log.String(), "listening on ")
		url, _, _ = strings.Cut(after, "\n")
		return found && strings.Contains(after, "\n")
	})
	return url
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s (%v)", url, resp.Status, body, err)
	}
	return strings.TrimSpace(string(body))
}

// TestIDServe: the service answers, is killed, goes on above what it gave out,
// and ends at SIGTERM.
func TestIDServe(t *testing.T) {
	folder := t.TempDir()
	args := []string{"id", "serve", "--listen", "127.0.0.1:0", "--store", "ids.db", "--series", "bills"}
	killed := start(t, folder, args...)
	url := listening(t, killed)
	if strings.Contains(killed.log.String(), "warning") {
		t.Errorf("a warning on loopback: %s", killed.log.String())
	}
	ids := strings.Fields(get(t, url+"/next?n=10"))
	if number := get(t, url+"/next?name=bills"); len(ids) != 10 || number != "1" {
		t.Fatalf("ids %v, number %s", ids, number)
	}
	killed.signal(syscall.SIGKILL)
	killed.wait()

	again := start(t, folder, append(args, "--listen", "0.0.0.0:0")...)
	url = strings.Replace(listening(t, again), "[::]", "127.0.0.1", 1)
	if !strings.Contains(again.log.String(), "warning: ") {
		t.Errorf("no warning although other machines reach it: %s", again.log.String())
	}
	if one := get(t, url+"/next"); one <= ids[9] {
		t.Errorf("%s after the kill sorts before %s", one, ids[9])
	}
	if number := get(t, url+"/next?name=bills&n=2"); number != "2\n3" {
		t.Errorf("numbers %q after the kill, want 2 and 3", number)
	}
	again.signal(syscall.SIGTERM)
	if code := again.wait(); code != exitInterrupted {
		t.Errorf("SIGTERM: exit code %d\n%s", code, again.log.String())
	}
}
