package pipeline

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema (draft 2020-12) of the pipeline file, for editors.
// It is built from the types and comments of this package. It cannot say what
// depends on several fields at once; Parse can.
func Schema() []byte { return slices.Clone(schema) }
