package main

import (
	"errors"

	"github.com/spf13/cobra"
)

const longHelp = `rollcall sits on a message queue so that no message is lost and none takes
effect twice, and it can prove both.

  rollcall demo                       ten seconds: textbook patterns against rollcall
  rollcall init                       write a pipeline file, rollcall.yaml
  rollcall check                      what that file promises under each fault
  rollcall send orders.csv            send a file; sending it again is absorbed
  rollcall run --until-empty          work off what is there
  rollcall dead list                  what was set aside
  rollcall audit                      which message is missing, since when, why
  rollcall trace ID                   one message's timeline

Exit codes: 0 fine · 1 findings · 2 usage or configuration · 3 a file or server
could not be used · 130 interrupted, after a clean drain.`

// newRoot is the command with all its verbs.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "rollcall VERB",
		Short:         "no message lost, none taking effect twice",
		Long:          longHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage(errors.New("a verb is missing"), "see: rollcall --help")
		},
		PersistentPreRun: func(cmd *cobra.Command, _ []string) { a.begin(cmd.CommandPath()) },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(err, "see: "+cmd.CommandPath()+" --help") })
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.PersistentFlags().BoolVar(&a.json, "json", false, "one JSON object a line on stdout; the last is the summary")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "log everything that happens to stderr")
	root.AddCommand(newDemo(a), newDemoChild(a), newInit(a), newCheck(a), newSchema(a), newSend(a), newRun(a), newDead(a), newAudit(a), newTrace(a), newBench(a), newID(a), newVersion(a))
	return root
}

// defaultFile is the pipeline file that is taken when none is named.
const defaultFile = "rollcall.yaml"

// fileArgument is the FILE of the verbs that take one.
func fileArgument(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return defaultFile
}
