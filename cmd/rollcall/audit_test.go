//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// audits is the workshop with a grace that a test can wait for.
func audits(t *testing.T, messages int) string {
	t.Helper()
	folder, _ := workshop(t, messages)
	writeFile(t, folder, "rollcall.yaml", chaosFile+"audit: {grace: 100ms}\n")
	ran(t, folder, "send", "things.ndjson")
	return folder
}

// loses removes the messages of a partition up to an offset, as retention does.
func loses(t *testing.T, folder string, partition int32, offset int64) {
	t.Helper()
	log, err := filelog.Open(filepath.Join(folder, "rollcall-data", "log.db"), filelog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.TrimTo(t.Context(), "things", partition, offset); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// objectsOf are the objects of one type that were printed.
func objectsOf(t *testing.T, text, kind string) (out []map[string]any) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if o["type"] == kind {
			out = append(out, o)
		}
	}
	return out
}

// findingIDs are the ids of the findings.
func findingIDs(t *testing.T, text string) (ids []string) {
	t.Helper()
	for _, f := range objectsOf(t, text, "finding") {
		ids = append(ids, f["id"].(string))
	}
	return ids
}

// TestAuditFollow: it goes on and tells each change once, until it is stopped: then it
// says how it stands, and exits as any audit does. Killed in the middle and begun again,
// it finds the same, with the same ids.
func TestAuditFollow(t *testing.T) {
	folder := audits(t, 60)
	ran(t, folder, "run", "--until-empty")
	writeFile(t, folder, "more.ndjson", strings.Repeat(`{"id": 7, "one": 1}`+"\n", 60))
	ran(t, folder, "send", "more.ndjson")
	follow, killed := start(t, folder, "audit", "--follow", "--json"), start(t, folder, "audit", "--follow")
	loses(t, folder, 2, 14)
	if code := start(t, folder, "run", "--until-empty").wait(); code != exitFindings {
		t.Fatalf("the run: exit code %d", code)
	}
	eventually(t, "a follower tells of lost numbers", func() bool {
		return strings.Contains(follow.out.String(), `"to":"lost"`) && strings.Contains(killed.out.String(), " to lost: ")
	})
	killed.signal(syscall.SIGKILL)
	<-killed.done
	follow.signal(syscall.SIGINT)
	if code := follow.wait(); code != exitFindings {
		t.Errorf("stopped, with losses: exit code %d\n%s", code, follow.log.String())
	}
	seen := make(map[string]bool)
	for _, x := range objectsOf(t, follow.out.String(), "transition") {
		id := x["id"].(string)
		if seen[id] {
			t.Errorf("told twice: %v", x)
		}
		seen[id] = true
	}
	lines := strings.Split(strings.TrimSpace(follow.out.String()), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, `"type":"summary"`) || !strings.Contains(last, `"lost":4`) {
		t.Errorf("the last line is %s", last)
	}
	again := start(t, folder, "audit", "--json")
	if code := again.wait(); code != exitFindings {
		t.Errorf("asked again: exit code %d", code)
	}
	if first, second := findingIDs(t, follow.out.String()), findingIDs(t, again.out.String()); len(first) == 0 || !slices.Equal(first, second) {
		t.Errorf("the findings were %v, asked again %v", first, second)
	}
}

// TestAuditStopped: an audit that was to wait for verdicts and is stopped has none: it
// does not pass.
func TestAuditStopped(t *testing.T) {
	folder := audits(t, 6)
	wait := start(t, folder, "audit", "--until-sealed", "--timeout", "1h", "--html", "page.html")
	eventually(t, "it waits", func() bool { _, err := os.Stat(filepath.Join(folder, "page.html")); return err == nil })
	wait.signal(syscall.SIGTERM)
	if code := wait.wait(); code != exitInterrupted || !strings.Contains(wait.log.String(), "stopped before everything had its verdict; nothing was changed") {
		t.Errorf("exit code %d\n%s", code, wait.log.String())
	}
}

// TestAuditBesideKills: workers work and are killed, a file is sent twice, and those who
// watch never raise a false alarm.
func TestAuditBesideKills(t *testing.T) {
	const messages = 4000
	folder, db := workshop(t, messages)
	writeFile(t, folder, "rollcall.yaml", chaosFile+"audit: {grace: 100ms}\n")
	ran(t, folder, "send", "things.ndjson")
	follow := start(t, folder, "audit", "--tap", "--follow", "--json")
	again := start(t, folder, "send", "things.ndjson")
	for kill := range 3 {
		w := start(t, folder, "run")
		aim := (kill + 1) * messages / 4
		eventually(t, fmt.Sprintf("%d effects", aim), func() bool { return number(t, db, `SELECT count(*) FROM things`) >= aim })
		w.signal(syscall.SIGKILL)
		<-w.done
	}
	if code := again.wait(); code != exitFine {
		t.Fatalf("sending again: exit code %d\n%s", code, again.log.String())
	}
	ran(t, folder, "run", "--until-empty")
	sealed := objectsOf(t, ran(t, folder, "audit", "--tap", "--until-sealed", "--timeout", "20s", "--json"), "summary")
	if len(sealed) != 1 || sealed[0]["sealed"] != true || sealed[0]["missing"] != 0.0 {
		t.Errorf("%v", sealed)
	}
	follow.signal(syscall.SIGINT)
	if code := follow.wait(); code != exitFine || strings.Contains(follow.out.String(), `"lost"`+"}") || strings.Contains(follow.out.String(), `"to":"lost"`) {
		t.Errorf("the follower: exit code %d\n%s%s", code, follow.out.String(), follow.log.String())
	}
	checkOnce(t, folder, db, messages, messages)
}

// TestBooksUnwritable: a sender that may not make the side destination sends all the
// same and says so once; what it sent is not audited by name.
func TestBooksUnwritable(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers := cluster.ListenAddrs()[0]
	if err := makeTopic(brokers, "things", 1); err != nil {
		t.Fatal(err)
	}
	cluster.ControlKey(int16(kmsg.CreateTopics), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		asked := r.(*kmsg.CreateTopicsRequest)
		answer := asked.ResponseKind().(*kmsg.CreateTopicsResponse)
		for _, topic := range asked.Topics {
			refused := kmsg.NewCreateTopicsResponseTopic()
			refused.Topic, refused.ErrorCode = topic.Topic, kerr.TopicAuthorizationFailed.Code
			answer.Topics = append(answer.Topics, refused)
		}
		return answer, nil, true
	})
	folder, _ := workshop(t, 30)
	sent := start(t, folder, "send", "--to", "kafka://"+brokers+"/things", "things.ndjson")
	if code := sent.wait(); code != exitFine || !strings.Contains(sent.out.String(), "sent 30 = stored 30") {
		t.Fatalf("exit code %d\n%s%s", code, sent.out.String(), sent.log.String())
	}
	text := sent.log.String()
	if n := strings.Count(text, `warning: the books for the audit could not be written to "_rollcall", messages go on: `); n != 1 || strings.Contains(text, "WARN") {
		t.Errorf("it was told %d times, want once:\n%s", n, text)
	}
	audit := ran(t, folder, "audit", "kafka://"+brokers+"/things")
	if !strings.Contains(audit, "present                           30") || !strings.Contains(audit, "note: no sender keeps books on \"things\"") {
		t.Errorf("%s", audit)
	}
}
