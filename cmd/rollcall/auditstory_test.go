//go:build linux

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// storyBlock is a command block of docs/audit-story.md, and what it prints.
var storyBlock = regexp.MustCompile("(?s)```sh\n(.*?)```\n(?:```\n(.*?)```\n)?")

// TestAuditStory runs docs/audit-story.md against a real broker, block by block.
func TestAuditStory(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/audit-story.md")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin, folder := t.TempDir(), t.TempDir()
	for name := range storyTools {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(self, filepath.Join(bin, "rollcall")); err != nil {
		t.Fatal(err)
	}
	blocks := storyBlock.FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 7 {
		t.Fatalf("docs/audit-story.md has %d blocks of commands", len(blocks))
	}
	brokers := servers.Start(t, servers.Kafka, servers.Config{}).Addr // its topic has a name that others use
	for _, b := range blocks {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		sh := exec.CommandContext(ctx, "sh", "-eu", "-c", b[1])
		sh.Dir = folder
		sh.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "BROKER="+brokers, "GORACE="+raceExit)
		out, err := sh.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%s: %v\n%s", b[1], err, out)
		}
		follows(t, b[1], string(out), b[2])
	}
}

// follows wants lines in an output, in their order; … stands for anything, and spaces
// for any number of them.
func follows(t *testing.T, command, out, want string) {
	t.Helper()
	lines := strings.Split(out, "\n")
	for _, w := range strings.Split(strings.TrimSpace(want), "\n") {
		if strings.TrimSpace(w) == "" {
			continue
		}
		pattern := regexp.QuoteMeta(strings.Join(strings.Fields(w), " "))
		is := regexp.MustCompile("^" + strings.ReplaceAll(pattern, "…", ".*") + "$")
		found := false
		for !found && len(lines) > 0 {
			found = is.MatchString(strings.Join(strings.Fields(lines[0]), " "))
			lines = lines[1:]
		}
		if !found {
			t.Fatalf("the story says\n%s\nand this does not come: %s\nit printed\n%s", want, w, out)
		}
	}
}

// storyTools stand in for programs that a reader has: Kafka's, by its protocol, and
// SQLite's.
var storyTools = map[string]func(){
	"kafka-topics.sh":         func() { tool(createTopic) },
	"kafka-delete-records.sh": func() { tool(deleteRecords) },
	"sqlite3":                 func() { tool(runSQL) },
}

func tool(do func(args []string) error) {
	if err := do(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// option is the value of an option.
func option(args []string, name string) string {
	for i, a := range args[:len(args)-1] {
		if a == name {
			return args[i+1]
		}
	}
	return ""
}

func createTopic(args []string) error {
	partitions, err := strconv.ParseInt(option(args, "--partitions"), 10, 32)
	if err != nil {
		return err
	}
	return makeTopic(option(args, "--bootstrap-server"), option(args, "--topic"), int32(partitions))
}

func deleteRecords(args []string) error {
	text, err := os.ReadFile(option(args, "--offset-json-file"))
	if err != nil {
		return err
	}
	var file struct {
		Partitions []struct {
			Topic     string
			Partition int32
			Offset    int64
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return err
	}
	return withAdmin(option(args, "--bootstrap-server"), func(ctx context.Context, admin *kadm.Client) error {
		var below kadm.Offsets
		for _, p := range file.Partitions {
			below.AddOffset(p.Topic, p.Partition, p.Offset, -1)
		}
		_, err := admin.DeleteRecords(ctx, below)
		return err
	})
}

func runSQL(args []string) error {
	return withDB(args[0], func(db *sql.DB) error { return query(db, args[1], func(row string) { fmt.Println(row) }) })
}
