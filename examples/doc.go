// Package examples holds programs that a user would write, each in a folder of
// its own, with a test that runs it and kills it in the middle. README.md lists
// them.
package examples
