package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall/pipeline"
)

const schemaHelp = `Prints the JSON Schema (draft 2020-12) of the pipeline file. Editors complete
and check with it; for those that use yaml-language-server:

  rollcall schema > rollcall.schema.json

and as the first line of the pipeline file:

  # yaml-language-server: $schema=rollcall.schema.json

It cannot say what depends on several fields at once: rollcall check does.`

type schemaObject struct {
	Type   string          `json:"type"`
	Schema json.RawMessage `json:"schema"`
}

type schemaSummary struct {
	Type  string `json:"type"`
	Verb  string `json:"verb"`
	Draft string `json:"draft"`
}

func newSchema(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "the JSON Schema of the pipeline file, for editors",
		Long:  schemaHelp,
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			text := pipeline.Schema()
			if !a.json {
				return a.page(string(text))
			}
			if err := a.object(schemaObject{"schema", text}); err != nil {
				return err
			}
			return a.object(schemaSummary{"summary", "schema", "https://json-schema.org/draft/2020-12/schema"})
		},
	}
}
