package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage(fmt.Errorf("%q is one argument too many", args[0]), "see: "+cmd.CommandPath()+" --help")
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= 1 {
			return nil
		}
		return usage(fmt.Errorf("one %s is taken, there are %d", what, len(args)), "see: "+cmd.CommandPath()+" --help")
	}
}
