// Package figures measures the embedded pair: broker/filelog and store/sqlite,
// two files, every commit synced. Each figure is a share of F, the fastest
// batched insert of the same rows that the driver allows, measured just before
// it: read ratios within one run, never absolutes. `rollcall bench` prints them
// and writes docs/figures.json.
//
// ROLLCALL_LONG=1 makes go test -run Memory show that memory does not grow with
// what waits.
package figures
