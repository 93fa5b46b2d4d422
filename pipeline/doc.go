// Package pipeline reads the pipeline file: where messages come from, how a
// repeat is recognised, which rows they become, and where that is recorded.
//
//	name: billing
//	source: {embedded: {destination: orders}}
//	store: {sqlite: {path: shop.db}}
//	dedup: {key: [payload.order_id]}
//	effect: {table: {name: account, key: [id], mode: add, columns: {id: payload.account, balance: payload.amount}}}
//
// The file is hostile until it is read: it is at most 1 MiB, unknown and
// repeated fields are refused, anchors, aliases and tags are not taken, and
// ${VAR}, ${VAR:-default} and ${file:PATH} are put into values after the YAML
// was parsed, so that no value can become structure. Every mistake is an Error
// with line, column, caret and next step.
//
// The package opens nothing: it imports no driver and needs no connection.
package pipeline
