package mysql

import (
	"strings"
	"testing"
)

// TestUnfit: servers that are not at hand.
func TestUnfit(t *testing.T) {
	good := map[string]string{"version": "8.0.31", "read_only": "OFF", "innodb_flush_log_at_trx_commit": "1", "log_bin": "ON", "sync_binlog": "1",
		"binlog_format": "ROW", "sql_mode": "STRICT_TRANS_TABLES", "transaction_isolation": "READ-COMMITTED", "character_set_client": "utf8mb4"}
	for _, c := range []struct {
		name, value, says string
		unsafe            bool // accepted with Config.Unsafe
	}{
		{"version", "8.4.2", "", true}, {"character_set_client", "gbk", "charset=utf8mb4", false}, {"character_set_client", "latin1", "", true}, {"version", "9.1.0", "", true}, {"version", "10.6.1-MariaDB", "", true}, {"version", "11.4.2-MariaDB-log", "", true},
		{"version", "5.7.44", "8.0 or newer", false}, {"version", "10.5.9-MariaDB", "10.6 or newer", false}, {"version", "", "8.0 or newer", false},
		{"version", "8.0.11-TiDB-v7.5.0", "locks", false}, {"super_read_only", "ON", "read-only", false}, {"innodb_read_only", "ON", "read-only", false},
		{"wsrep_on", "ON", "Galera", false}, {"group_replication_single_primary_mode", "OFF", "group replication", false},
		{"binlog_format", "STATEMENT", "ROW", false}, {"sql_mode", "", "strict", false}, {"transaction_isolation", "REPEATABLE-READ", "REPEATABLE-READ", false},
		{"innodb_flush_log_at_trx_commit", "2", "Unsafe", true}, {"innodb_flush_log_at_trx_commit", "3", "Unsafe", true}, {"sync_binlog", "0", "Unsafe", true},
	} {
		set := map[string]string{c.name: c.value}
		for name, value := range good {
			if name != c.name {
				set[name] = value
			}
		}
		what, next := unfit(set, false)
		if (what == "") != (c.says == "") || !strings.Contains(what+next, c.says) {
			t.Errorf("%s %q: %q %q, want %q", c.name, c.value, what, next, c.says)
		}
		if what, _ := unfit(set, true); (what == "") != c.unsafe {
			t.Errorf("%s %q with Unsafe: %q", c.name, c.value, what)
		}
	}
}
