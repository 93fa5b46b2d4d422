package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

//go:embed init.yaml.txt
var initText string

// initSources are the words of --source: the source's section in the file.
var initSources = map[string]string{
	"embedded": `  embedded:                 # a log in a folder, no server
    path: rollcall-data
    destination: orders
    # partitions: 8         # when it is created; as many processes can share the work
    # retention: 14d        # how long messages are kept; default: for ever
`,
	"kafka": `  kafka:
    brokers: ["${KAFKA_BROKER:-127.0.0.1:9092}"]  # some of the cluster's, each host:port
    topic: orders           # it must exist: kafka-topics.sh --create --topic orders
                            #   --partitions 6 --replication-factor 3 --config min.insync.replicas=2
    # tls: {}               # encrypted, with the system's certificates; or:
    # tls: {ca: ca.pem, cert: me.pem, key: me.key, server_name: kafka.example}
    # sasl: {mechanism: SCRAM-SHA-512, user: app, password: "${KAFKA_PASSWORD}"}
    # sasl: {mechanism: OAUTHBEARER, token_file: token}  # read anew for each connection
    # protocol: cooperative # or eager, or server (Kafka 4.3): the same in all processes
    # instance: "${HOSTNAME}"  # static member: each process has another one
    # session_timeout: 45s  # silent for so long, a process loses its partitions
    # rebalance_timeout: 60s
    # commit_every: 1s      # for tools that show the lag; the group's place is in the store
    # accept_lost: false    # true: go on behind what retention removed before it was done
  # late: 14d               # how late a message can come again; run asks the topic itself
`,
	"rabbitmq": `  rabbitmq:
    addresses: ["${RABBITMQ_ADDRESS:-127.0.0.1:5672}"]  # some nodes of the cluster, each host:port
    queue: orders
    declare: {}             # makes the queue if it is missing, and compares one that is there; or:
    # declare: {dead_letter: orders-dead, delivery_limit: 100}
    # declare: {bindings: [{exchange: shop, key: orders.eu}]}  # what an exchange sends on to it
    # type: quorum          # or classic; or stream, which is kept and read like a log
    # single_active: false  # true: one process at a time, in order
    # virtual_host: /
    # user: app             # without: guest, which RabbitMQ takes from its own host only
    # password: "${RABBITMQ_PASSWORD}"
    # tls: {}               # encrypted, with the system's certificates; or:
    # tls: {ca: ca.pem, cert: me.pem, key: me.key, server_name: mq.example}
    # external: false       # true: the certificate says who we are
    # prefetch: 1000        # most messages that a process holds unsettled
  late: 7d                  # how long a message can lie in the queue at most: dedup.window covers it
`,
	"rocketmq": `  rocketmq:
    endpoints: ["${ROCKETMQ_ENDPOINT:-127.0.0.1:8081}"]  # proxies (gRPC), each host:port
    topic: orders           # it must exist: mqadmin updateTopic -n NAMESERVER -c CLUSTER -t orders
                            #   -a +message.type=NORMAL; and the group, which is the pipeline's name:
                            #   mqadmin updateSubGroup -n NAMESERVER -c CLUSTER -g NAME -m true -r 1000
    # plaintext: true       # without it the connection is encrypted, with the system's certificates; or:
    # tls: {ca: ca.pem, server_name: mq.example}
    # access_key: app
    # secret_key: "${ROCKETMQ_SECRET}"
    # namespace: ""
    # fifo: false           # true: a topic of type FIFO and an orderly group (updateSubGroup -o true)
    # filter: "*"           # tags: "a || b"; what is left out cannot be audited
    # invisible: 60s        # silent for so long, a process loses what it was given
  late: 3d                  # how long the server keeps messages (fileReservedTime): dedup.window covers it
`,
}

// initNotes say what the file expects of a source.
var initNotes = map[string]string{
	"kafka":    "it reads the address of a broker from the variable KAFKA_BROKER, 127.0.0.1:9092 without one; the topic must exist",
	"rabbitmq": "it reads the address of a node from the variable RABBITMQ_ADDRESS, 127.0.0.1:5672 without one; run and send make the queue",
	"rocketmq": "it reads the address of a proxy from the variable ROCKETMQ_ENDPOINT, 127.0.0.1:8081 without one; topic and group must exist",
}

// initStores are the words of --store: the table that fits the effect of the
// file, and the store's section in it.
var initStores = map[string]struct{ table, section string }{
	"sqlite": {"CREATE TABLE orders (id TEXT PRIMARY KEY, amount INTEGER NOT NULL);", `  sqlite:
    path: shop.db           # your own database; rollcall's tables begin with rollcall_
`},
	"postgres": {"CREATE TABLE orders (id text PRIMARY KEY, amount bigint NOT NULL);", `  postgres:
    dsn: "${DATABASE_URL}"  # postgres://user:password@host:5432/database
    # schema: rollcall      # where rollcall's own tables are; made if the user may
`},
	"mysql": {"CREATE TABLE orders (id VARBINARY(64) PRIMARY KEY, amount BIGINT NOT NULL);", `  mysql:                    # MySQL or MariaDB
    dsn: "${DATABASE_URL}"  # user:password@tcp(host:3306)/database
    # schema: rollcall      # the database of rollcall's own tables; made if the user may
`},
}

type initOptions struct {
	source, store, name string
	force, sample       bool
}

type initSummary struct {
	Type string `json:"type"`
	Verb string `json:"verb"`
	File string `json:"file"`
}

func newInit(a *app) *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init [flags] [FILE]",
		Short: "write a commented pipeline file",
		Args:  atMostOne("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			path := fileArgument(args)
			if err := o.write(path); err != nil {
				return err
			}
			if o.sample {
				if err := writeSample(path); err != nil {
					return err
				}
			}
			if a.json {
				return a.object(initSummary{"summary", "init", path})
			}
			a.say("wrote %s", path)
			if o.sample {
				a.say("made table orders in %s and wrote %s", sampleStore, sampleFile)
				a.note("next: rollcall send %s, rollcall run --until-empty, and both again", sampleFile)
				return nil
			}
			if text := initNotes[o.source]; text != "" {
				a.note("%s", text)
			}
			if o.store != "sqlite" {
				a.note("it reads the address of the database from the variable DATABASE_URL")
			}
			a.note("next: change table and columns in it, then: rollcall send FILE, rollcall run")
			return nil
		},
	}
	cmd.Flags().StringVar(&o.source, "source", "embedded", "where messages come from: embedded, kafka, rabbitmq or rocketmq")
	cmd.Flags().StringVar(&o.store, "store", "sqlite", "where \"done\" is recorded: sqlite, postgres or mysql (MariaDB, too)")
	cmd.Flags().StringVar(&o.name, "name", "billing", "consumer group")
	cmd.Flags().BoolVar(&o.sample, "sample", false, "also make the table in shop.db and write orders.ndjson to send")
	cmd.Flags().BoolVar(&o.force, "force", false, "overwrite a file that is there")
	return cmd
}

func (o initOptions) check() error {
	if initSources[o.source] == "" {
		return usage(fmt.Errorf("--source %q is not known", o.source), "rollcall init --source embedded, kafka, rabbitmq or rocketmq")
	}
	_, known := initStores[o.store]
	switch {
	case o.store == "redis":
		return usage(errors.New("--store redis cannot be: Redis holds claims only, and the effect must be recorded in the transaction that makes it"),
			"rollcall init --store sqlite, postgres or mysql")
	case !known:
		return usage(fmt.Errorf("--store %q is not known", o.store), "rollcall init --store sqlite, postgres or mysql")
	case o.sample && o.store != "sqlite":
		return usage(fmt.Errorf("--sample makes a SQLite file, and --store is %s", o.store), "leave --sample out, and make the table yourself: its text is in the file")
	}
	return nil
}

// write makes the file; one that is there stays as it is without --force.
func (o initOptions) write(path string) error {
	if err := o.check(); err != nil {
		return err
	}
	name, err := yamlName(o.name)
	if err != nil {
		return err
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if o.force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	file, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, os.ErrExist) {
		return usage(fmt.Errorf("%s is there already and was left alone", path), "name another file, or overwrite it with --force")
	}
	if err != nil {
		return &failure{exitServer, err, "the folder must exist and be writable by this user"}
	}
	_, err = fmt.Fprintf(file, initText, name, initStores[o.store].table, initStores[o.store].section, initSources[o.source])
	return errors.Join(err, file.Close())
}

// yamlName is the name as a scalar of YAML.
func yamlName(name string) (string, error) {
	plain := name != ""
	for i := range len(name) {
		c := name[i]
		if c < ' ' || c == 0x7f {
			plain = false
		}
	}
	if !plain {
		return "", usage(fmt.Errorf("--name %q cannot name a consumer group", name), "use letters, digits, - and _")
	}
	for i := range len(name) {
		if c := name[i] | 0x20; c < 'a' || c > 'z' {
			return "'" + strings.ReplaceAll(name, "'", "''") + "'", nil
		}
	}
	if slices.Contains([]string{"true", "false", "null"}, strings.ToLower(name)) {
		return "'" + name + "'", nil
	}
	return name, nil
}
