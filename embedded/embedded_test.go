package embedded_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"github.com/rollcall-mq/rollcall/embedded"
)

func TestOpenMakesTheFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "shop")
	db, err := embedded.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{embedded.LogFile, embedded.StoreFile} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if open := openFiles(t, folder); len(open) > 0 {
		t.Errorf("still open after Close: %v", open)
	}
	if err := db.Store().DB().Ping(); err == nil {
		t.Error("the store is still open after Close")
	}
	results := db.Sender().Publish(context.Background(), "orders", []rollcall.Message{{}})
	if !errors.Is(results[0].Err, rollcall.ErrClosed) {
		t.Errorf("the log is still open after Close: %v", results[0].Err)
	}
}

func TestStorePathAndConfig(t *testing.T) {
	folder := t.TempDir()
	own := filepath.Join(folder, "own.db")
	db, err := embedded.OpenConfig(filepath.Join(folder, "data"), embedded.Config{StorePath: own, Log: filelog.Config{Partitions: 3}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if db.Store().Path() != own {
		t.Errorf("the store is %s", db.Store().Path())
	}
	ctx := context.Background()
	if _, err := db.Sender().Lanes(ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	extents, err := db.Source("orders").Measure(ctx)
	if err != nil || len(extents) != 3 {
		t.Errorf("%d partitions, %v", len(extents), err)
	}
	if _, err := os.Stat(filepath.Join(folder, "data", embedded.StoreFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a store was made in the folder, too: %v", err)
	}
}

func TestOpenFails(t *testing.T) {
	if _, err := embedded.Open(""); !errors.Is(err, rollcall.ErrConfig) {
		t.Errorf("no folder: %v", err)
	}
	folder := t.TempDir()
	// A store that cannot be opened leaves the log closed: it can be removed
	// and opened anew.
	if err := os.Mkdir(filepath.Join(folder, embedded.StoreFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Open(folder); !errors.Is(err, rollcall.ErrConfig) {
		t.Fatalf("the store is a folder: %v", err)
	}
	if open := openFiles(t, folder); len(open) > 0 {
		t.Errorf("still open: %v", open)
	}
	if err := os.Remove(filepath.Join(folder, embedded.StoreFile)); err != nil {
		t.Fatal(err)
	}
	db, err := embedded.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// openFiles are the files of a folder that this process has open.
func openFiles(t *testing.T, folder string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, link := range links {
		if path, err := os.Readlink(link); err == nil && strings.HasPrefix(path, folder) {
			out = append(out, path)
		}
	}
	return out
}
