package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// TestRedisEffect: keys end at their highest number whatever the order is, and
// however often run is killed and the file sent. A message that lacks a value is
// dead and leaves no trace in the table; two values with one number are kept.
func TestRedisEffect(t *testing.T) {
	const keys, versions = 20, 10
	server := servers.Start(t, servers.Redis, servers.Config{})
	address := strings.TrimPrefix(server.URL(), "redis://")
	folder := t.TempDir()
	writeFile(t, folder, "rollcall.yaml", fmt.Sprintf(`
name: prices
source: {embedded: {destination: changes, partitions: 2}}
store: {sqlite: {path: shop.db}}
effect:
  - table: {name: change, mode: insert, columns: {sku: payload.sku, version: payload.version}}
  - redis: {addr: "%s", prefix: "price:", set: {key: payload.sku, value: payload.price, number: payload.version}}
batch: 10
`, address))
	db := openDB(t, "sqlite", "file:"+filepath.Join(folder, "shop.db")+"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if _, err := db.Exec(`CREATE TABLE change (sku TEXT, version INTEGER)`); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range keys * versions {
		lines = append(lines, fmt.Sprintf(`{"sku": "s%d", "version": %d, "price": "%d.50"}`, i%keys, 1+i/keys, 1+i/keys))
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	lines = append(lines, `{"sku": "s0", "version": 11}`, fmt.Sprintf(`{"sku": "s1", "version": %d, "price": "0"}`, versions))
	writeFile(t, folder, "changes.ndjson", strings.Join(lines, "\n"))
	ran(t, folder, "send", "changes.ndjson")
	for range 2 {
		c := start(t, folder, "run")
		time.Sleep(300 * time.Millisecond)
		_ = c.cmd.Process.Signal(syscall.SIGKILL)
		<-c.done
	}
	ran(t, folder, "send", "changes.ndjson")
	out := ran(t, folder, "run", "--until-empty")
	if !strings.Contains(out, "outbox: all is sent; refused 1, parked 0") || !strings.Contains(out, "dead 1 ") {
		t.Errorf("%s", out)
	}
	rows := 0
	if err := db.QueryRow(`SELECT count(*) FROM change`).Scan(&rows); err != nil || rows != keys*versions+1 {
		t.Errorf("%d rows %v, want %d: one each, none of the message that is dead", rows, err, keys*versions+1)
	}
	client := redis.NewClient(&redis.Options{Addr: address})
	defer func() { _ = client.Close() }()
	for i := range keys {
		want := fmt.Sprintf("%d.50", versions)
		if got, err := client.Get(t.Context(), fmt.Sprint("price:s", i)).Result(); err != nil || got != want && (i != 1 || got != "0") {
			t.Errorf("s%d is %q %v, want %q", i, got, err, want)
		}
	}
	if list := ran(t, folder, "dead", "outbox"); !strings.Contains(list, "redis:prices") || !strings.Contains(list, "key s1: ") {
		t.Errorf("%s", list)
	}
}
