//go:build linux

package main

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestServerIDs: ids and numbers from a database. Four at a time ask, half of
// them are killed; nothing that was printed repeats. A service that is killed
// goes on above what it gave out.
func TestServerIDs(t *testing.T) {
	eachProduct(t, func(t *testing.T, p *place) {
		next := []string{"id", "next", "--store", "${file:dsn}", "--count", "20"}
		var mu sync.Mutex
		seen := make(map[string]int)
		var group sync.WaitGroup
		for lane := range 4 {
			group.Go(func() {
				for try := range 4 {
					args := next
					if try%2 == 0 {
						args = append(next[:len(next):len(next)], "--short", "--name", "bills")
					}
					c := start(t, p.folder, args...)
					if lane%2 == 0 {
						time.Sleep(time.Duration(5+15*try) * time.Millisecond)
						_ = c.cmd.Process.Signal(syscall.SIGKILL) // some have ended before
					}
					code := c.wait()
					if code != 0 && (lane%2 != 0 || code != -1) {
						t.Errorf("exit code %d: %s", code, c.log.String())
					}
					mu.Lock()
					for _, one := range strings.Fields(c.out.String()) {
						seen[one]++
					}
					mu.Unlock()
				}
			})
		}
		group.Wait()
		for one, n := range seen {
			if n != 1 {
				t.Errorf("%s was given out %d times", one, n)
			}
		}
		if len(seen) < 2*4*20 { // of the two that nobody killed
			t.Errorf("%d ids and numbers", len(seen))
		}
		serverServe(t, p)
		if p.kind == "postgres" && p.rows(t, "SELECT count(*) FROM pg_namespace WHERE nspname = 'rollcall'") != "0" {
			t.Error("asking for ids made the tables of pipelines")
		}
	})
}

func serverServe(t *testing.T, p *place) {
	t.Helper()
	args := []string{"id", "serve", "--listen", "127.0.0.1:0", "--store", "${file:dsn}", "--series", "orders"}
	killed := start(t, p.folder, args...)
	url := listening(t, killed)
	ids := strings.Fields(get(t, url+"/next?n=10"))
	if number := get(t, url+"/next?name=orders&n=3"); len(ids) != 10 || number != "1\n2\n3" {
		t.Fatalf("ids %v, numbers %s", ids, number)
	}
	killed.signal(syscall.SIGKILL)
	killed.wait()
	again := start(t, p.folder, args...)
	url = listening(t, again)
	if one := get(t, url+"/next"); one <= ids[9] {
		t.Errorf("%s after the kill sorts before %s", one, ids[9])
	}
	if number := get(t, url+"/next?name=orders"); number != "4" {
		t.Errorf("number %s after the kill, want 4", number)
	}
	again.signal(syscall.SIGTERM)
	if code := again.wait(); code != exitInterrupted {
		t.Errorf("SIGTERM: exit code %d\n%s", code, again.log.String())
	}
	secretless(t, again)
}

// TestServerIDsRefused: exit codes, and no password.
func TestServerIDsRefused(t *testing.T) {
	eachProduct(t, func(t *testing.T, p *place) {
		for _, verb := range [][]string{{"id", "next"}, {"id", "serve", "--listen", "127.0.0.1:0"}} {
			for _, c := range []struct {
				store string
				code  int
				says  []string
			}{
				{strings.Replace(p.dsn, password, password+"4", 1), exitServer, []string{"refuses user or password"}},
				{strings.Replace(p.dsn, p.server.Addr, "127.0.0.1:1", 1), exitServer, []string{"refused"}},
				{strings.Replace(p.dsn, "/shop", "/nowhere", 1), exitServer, []string{"database"}},
				{"mysql://app:" + password + "@db/shop", exitUsage, []string{"is a URL of no database that is known"}},
			} {
				p.refused(t, c.code, c.says, append(verb, "--store", c.store)...)
			}
			c := start(t, p.folder, append(verb, "--store", "${NOT_SET_"+fmt.Sprint(len(verb))+"}")...)
			if code := c.wait(); code != exitUsage || !strings.Contains(c.log.String(), "is not set") {
				t.Errorf("exit code %d: %s", code, c.log.String())
			}
		}
	})
}
