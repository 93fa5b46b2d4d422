package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/jsonpath"
	"github.com/rollcall-mq/rollcall/internal/linediff"
	"github.com/rollcall-mq/rollcall/pipeline"
)

const editHelp = `Replaces a dead or parked row by a corrected message, which is due at once. It is
another message: without a stamp, with an id of its own (the old one's and
"-edit-ROW"), the same key, headers and destination. The row is discarded, the
corrected message is counted in its place, and the operator log keeps the body as
it was. The difference is shown first; without a terminal nothing is changed until
--yes is added.

The new body comes from --body FILE, from --set payload.a.b=JSON (several times,
if need be; every other byte stays), or from your editor ($VISUAL, $EDITOR).`

type editOptions struct {
	body string
	set  []string
}

type editSummary struct {
	Type      string `json:"type"`
	Verb      string `json:"verb"`
	Group     string `json:"group"`
	Aside     int64  `json:"aside"`
	MessageID string `json:"message_id"` // of the corrected message
	Changed   bool   `json:"changed"`
	DryRun    bool   `json:"dry_run"`
	Diff      string `json:"diff"`
}

func newDeadEdit(a *app, o *deadOptions) *cobra.Command {
	var e editOptions
	cmd := &cobra.Command{
		Use:   "edit ID",
		Short: "replace a row by a corrected message",
		Long:  editHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if e.body != "" && len(e.set) > 0 {
				return usage(errors.New("--body and --set are both given"), "give one of the two")
			}
			if len(args) > 1 {
				return usage(fmt.Errorf("%d rows are named", len(args)), "edit one at a time")
			}
			return someIDs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.edit(cmd.Context(), a, &e, args) },
	}
	o.operationFlags(cmd, "why, for the operator log")
	cmd.Flags().StringVar(&e.body, "body", "", "file with the new body")
	cmd.Flags().StringArrayVar(&e.set, "set", nil, "put a JSON value into the body: payload.a.b=JSON")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do it")
	return cmd
}

func (o *deadOptions) edit(ctx context.Context, a *app, e *editOptions, args []string) error {
	f, store, err := o.open(ctx, a)
	if err != nil {
		return err
	}
	defer store.Close()
	rows, err := byID(ctx, store.Asides(), f.Name, args)
	if err != nil {
		return err
	}
	row := &rows[0]
	if row.State != rollcall.AsideDead && row.State != rollcall.AsideParked {
		return notEdited(row.ID, row.State)
	}
	body, err := e.corrected(ctx, a, f, row)
	if err != nil {
		return err
	}
	sum := editSummary{Type: "summary", Verb: "dead edit", Group: f.Name, Aside: row.ID, MessageID: string(rollcall.EditedID(row)), Diff: difference(row.Message.Body, body)}
	if !a.json {
		a.say("%s", strings.TrimSuffix(sum.Diff, "\n"))
	}
	if sum.DryRun = !o.yes && !a.confirmed("replace row %d by message %s?", row.ID, sum.MessageID); !sum.DryRun {
		sum.Changed, err = store.Operations().Edit(ctx, f.Name, *row, body, f.ConsumerConfig().Dedup, o.operation())
		if err == nil && !sum.Changed {
			err = o.overtaken(ctx, store, f.Name, args)
		}
	}
	if err != nil {
		return err
	}
	return sum.print(a)
}

func (s *editSummary) print(a *app) error {
	switch {
	case a.json:
		return a.object(s)
	case s.DryRun:
		a.note("nothing was changed; next: add --yes")
	default:
		a.say("edited: row %d is discarded, message %s waits in its place", s.Aside, oneLine(s.MessageID))
	}
	return nil
}

func notEdited(id int64, state rollcall.AsideState) error {
	return usage(fmt.Errorf("row %d is %s: only dead and parked rows are edited; nothing was changed", id, state), fmt.Sprintf("see: rollcall dead show %d", id))
}

// overtaken: somebody was faster.
func (o *deadOptions) overtaken(ctx context.Context, s store, group string, args []string) error {
	rows, err := byID(ctx, s.Asides(), group, args)
	if err != nil {
		return err
	}
	return notEdited(rows[0].ID, rows[0].State)
}

// corrected is the new body, whose size the source would take.
func (e *editOptions) corrected(ctx context.Context, a *app, f *pipeline.File, row *rollcall.Aside) (body []byte, err error) {
	what := "--body"
	switch {
	case e.body != "":
		body, err = readBody(e.body, mostBytes(f))
	case len(e.set) > 0:
		what = "--set"
		body, err = setValues(row.Message.Body, e.set)
	default:
		what = "the body"
		body, err = editorsBody(ctx, a, row)
	}
	if err != nil {
		return nil, err
	}
	m := row.Message
	m.ID, m.Body = rollcall.EditedID(row), body
	if n, most := m.Size()+rollcall.MaxStampSize, mostBytes(f); n > most {
		return nil, usage(fmt.Errorf("%s: the corrected message has %d bytes (id, key, headers, body, stamp), and the source takes %d; nothing was changed", what, n, most), "make it smaller")
	}
	if bytes.Equal(body, row.Message.Body) {
		return nil, usage(fmt.Errorf("%s: it is the body that row %d has; nothing was changed", what, row.ID), fmt.Sprintf("to try it again as it is: rollcall dead redrive %d", row.ID))
	}
	return body, nil
}

func readBody(path string, most int) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > int64(most) {
		return nil, usage(fmt.Errorf("--body: %s has %d bytes, and the source takes %d; nothing was changed", path, info.Size(), most), "make it smaller")
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, usage(fmt.Errorf("--body: %w", err), "name a file with the new body")
	}
	return body, nil
}

// setValues puts values into a JSON body.
func setValues(body []byte, assignments []string) ([]byte, error) {
	for _, text := range assignments {
		path, value, err := jsonpath.CutAssignment(strings.TrimPrefix(text, "payload."))
		if err == nil {
			body, err = path.Set(body, value)
		}
		if err != nil {
			return nil, usage(fmt.Errorf("--set %s: %w; nothing was changed", text, err), `write such as --set payload.amount=100 or --set 'payload.name="Zoe"'; or use --body FILE`)
		}
	}
	return body, nil
}

// editorsBody lets the user's editor change the body.
func editorsBody(ctx context.Context, a *app, row *rollcall.Aside) ([]byte, error) {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		return nil, usage(errors.New("there is no editor: VISUAL and EDITOR are not set; nothing was changed"), "set EDITOR, or use --body FILE or --set payload.a.b=JSON")
	}
	folder, err := os.MkdirTemp("", "rollcall-edit-*") // nobody else may read it
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	path := fmt.Sprintf("%s/row-%d.json", folder, row.ID)
	if err := os.WriteFile(path, row.Message.Body, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.err, os.Stderr
	if !a.json {
		cmd.Stdout = a.out
	}
	if err := cmd.Run(); err != nil {
		return nil, usage(fmt.Errorf("the editor %q ended with %w; nothing was changed", editor, err), "set EDITOR, or use --body FILE or --set payload.a.b=JSON")
	}
	body, err := os.ReadFile(path)
	if err == nil && !bytes.HasSuffix(row.Message.Body, []byte("\n")) {
		body = bytes.TrimSuffix(body, []byte("\n")) // that is the editor's own
	}
	return body, err
}

// difference is how two bodies differ: JSON of one line is spread first.
func difference(before, after []byte) string {
	var x, y bytes.Buffer
	if json.Indent(&x, before, "", "  ") == nil && json.Indent(&y, after, "", "  ") == nil {
		if text := linediff.Unified(x.String()+"\n", y.String()+"\n"); text != "" {
			return text
		}
	}
	return linediff.Unified(string(before), string(after))
}

// confirmed asks at a terminal; without one the answer is no.
func (a *app) confirmed(format string, args ...any) bool {
	if !a.terminal || !isTerminal(a.in) || a.json {
		return false
	}
	fmt.Fprint(a.err, harmless(fmt.Sprintf(format, args...))+" [y/N] ")
	answer, _ := bufio.NewReader(a.in).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(answer), "y")
}
