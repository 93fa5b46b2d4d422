package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// The sample of `init --sample`: a table for the file's effect, and orders to
// send. 1,000 orders; the last 20 lines repeat earlier ones, as an impatient
// user does.
const (
	sampleFile    = "orders.ndjson"
	sampleStore   = "shop.db"
	sampleOrders  = 1000
	sampleRepeats = 20
	sampleTable   = `CREATE TABLE orders (id TEXT PRIMARY KEY, amount INTEGER NOT NULL)`
)

// writeSample makes the sample beside the pipeline file. What is there already
// stays as it is.
func writeSample(pipelineFile string) error {
	folder := filepath.Dir(pipelineFile)
	store, err := sqlite.Open(filepath.Join(folder, sampleStore), sqlite.Config{})
	if err != nil {
		return err
	}
	var there int
	err = store.DB().QueryRow(`SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'orders'`).Scan(&there)
	if err == nil && there == 0 {
		_, err = store.DB().Exec(sampleTable)
	}
	if err := errors.Join(err, store.Close()); err != nil {
		return fmt.Errorf("make the table orders in %s: %w", sampleStore, err)
	}
	file, err := os.OpenFile(filepath.Join(folder, sampleFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	for i := range sampleOrders + sampleRepeats {
		n := i % sampleOrders
		_, _ = fmt.Fprintf(w, "{\"order_id\":\"o-%04d\",\"amount\":%d}\n", n, 100+n*7%900) // Flush reports it
	}
	return errors.Join(w.Flush(), file.Close())
}
