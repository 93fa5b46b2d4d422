// Command sales is the bookkeeper of scripts/sample: it makes the table, counts
// what is in it, and says, from the CSV alone, what should be.
//
//	sales table FILE.db     make the table if it is not there; print rows and sum of quantities
//	sales lines FILE.csv    print lines and sum of quantities
//	sales distinct FILE.csv the same for lines that repeat no earlier one
package main

import (
	"database/sql"
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"strings"

	_ "modernc.org/sqlite"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sales table|lines|distinct FILE")
		os.Exit(2)
	}
	n, sum, err := count(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(n, sum)
}

func count(what, path string) (n, sum int, err error) {
	if what == "table" {
		return table(path)
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = file.Close() }()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		return 0, 0, err
	}
	seen := make(map[string]bool)
	for _, row := range rows[1:] {
		line := strings.Join(row, "\x00")
		if what == "distinct" && seen[line] {
			continue
		}
		seen[line] = true
		quantity, err := strconv.Atoi(row[3])
		if err != nil {
			return 0, 0, err
		}
		n, sum = n+1, sum+quantity
	}
	return n, sum, nil
}

func table(path string) (n, sum int, err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec(`CREATE TABLE IF NOT EXISTS sales (invoice TEXT, article TEXT, quantity INTEGER, price TEXT)`); err != nil {
		return 0, 0, err
	}
	err = db.QueryRow(`SELECT count(*), coalesce(sum(quantity), 0) FROM sales`).Scan(&n, &sum)
	return n, sum, err
}
