package main

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/embedded"
	"github.com/rollcall-mq/rollcall/verify/check"
	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/history"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// sideBySide is how many patterns run at once: most of their time is waiting. On
// Kafka nearly all of it is, for the session of one that was killed to end.
const sideBySide, sideBySideKafka = 3, 9

// demo is one run: the sender, then every pattern over the same log.
type demo struct {
	app    *app
	plan   *fault.Plan
	folder string
	calm   bool       // the plan is: nothing goes wrong
	kafka  *demoKafka // where the orders are; nil: in the embedded log

	mu       sync.Mutex
	unbitten map[string]int
	stuck    map[string]string
}

// patternNames are rollcall and the specimens.
func patternNames() []string {
	names := []string{demoRollcall}
	for _, p := range specimen.Patterns() {
		names = append(names, p.Name)
	}
	return names
}

// patternIdeas are the patterns in a few words each.
func patternIdeas() map[string]string {
	ideas := map[string]string{demoRollcall: "record and effect in one transaction, then settle"}
	for _, p := range specimen.Patterns() {
		ideas[p.Name] = p.Idea + `: "` + p.Why + `"`
	}
	return ideas
}

// run sends, works off with each pattern and gathers what they left. No child
// is alive when it returns.
func (d *demo) run(ctx context.Context) ([]check.Run, error) {
	d.unbitten, d.stuck = make(map[string]int), make(map[string]string)
	names := patternNames()
	for _, name := range names {
		if err := d.prepare(name); err != nil {
			return nil, err
		}
	}
	show := newProgress(d.app, int64(len(names)+1))
	show.items = true
	show.begin("sending, then patterns")
	defer show.end()
	if err := d.hit(ctx, demoSender); err != nil {
		return nil, err
	}
	show.add(0, 1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	most := sideBySide
	if d.kafka != nil {
		most = sideBySideKafka
	}
	room := make(chan struct{}, most)
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			if ctx.Err() != nil {
				return
			}
			if err := d.hit(ctx, name); err != nil {
				cancel(err)
				return
			}
			show.add(0, 1)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return d.gather(names)
}

// prepare makes the business database of a pattern.
func (d *demo) prepare(name string) error {
	return d.business(name, func(db *sql.DB) error {
		_, err := db.Exec(specimen.Schema)
		return err
	})
}

func (d *demo) business(name string, do func(*sql.DB) error) error {
	db, err := openBusiness(d.folder, name)
	if err == nil {
		err = do(db)
		if cerr := db.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return fmt.Errorf("database of %s: %w", name, err)
	}
	return nil
}

// hit runs the workers of a pattern, or the sender, through their faults.
func (d *demo) hit(ctx context.Context, name string) error {
	log, err := history.Create(d.folder, name+"@faults")
	if err != nil {
		return err
	}
	services := fault.NewServices(d.plan.Shaky)
	driver := fault.Driver{What: name, Add: func(e history.Event) error {
		if d.app.verbose {
			d.app.note("%s: %s process %d %s, in hand: %s", name, e.What, e.PID, e.Step, strings.Join(e.Orders, " "))
		}
		return log.Add(e)
	}, Idle: func() bool { return d.idle(name) },
		Start: func(left []int) (*fault.Process, error) {
			task, err := json.Marshal(demoTask{name, d.folder, d.plan.Seed, len(d.plan.Orders), left, d.calm, d.kafka})
			if err != nil {
				return nil, err
			}
			return fault.Start([]string{"rollcall", demoChildVerb, string(task)}, services)
		},
		Faults: demoFaults(d.plan, name)}
	if err = driver.Run(ctx); err != nil && ctx.Err() == nil {
		err = diskFull(d.folder, err)
	}
	d.mu.Lock()
	d.unbitten[name] = len(driver.Unbitten())
	if errors.Is(err, fault.ErrStuck) && name != demoSender {
		d.stuck[name], err = err.Error(), nil // a finding: it is judged as it stands
	}
	d.mu.Unlock()
	if cerr := log.Close(); err == nil {
		err = cerr
	}
	return err
}

// idle looks whether the log and a database can be written. On Kafka nobody holds
// the log.
func (d *demo) idle(name string) bool {
	files := []string{businessPath(d.folder, name)}
	if d.kafka == nil {
		files = append(files, filepath.Join(d.folder, embedded.LogFile))
	}
	for _, path := range files {
		db, err := openSQLite(path, 300*time.Millisecond)
		if err != nil {
			return false
		}
		tx, err := db.Begin()
		if err == nil {
			err = tx.Rollback()
		}
		if cerr := db.Close(); err != nil || cerr != nil {
			return false
		}
	}
	return true
}

// gather reads what the patterns left behind.
func (d *demo) gather(names []string) ([]check.Run, error) {
	sender, err := history.Load(d.folder, demoSender+"@")
	if err != nil {
		return nil, err
	}
	var out []check.Run
	for _, name := range names {
		r := check.Run{Name: name, Plan: d.plan, Sender: sender, Stuck: d.stuck[name]}
		if r.Worker, err = history.Load(d.folder, name+"@"); err != nil {
			return nil, err
		}
		if err := d.business(name, func(db *sql.DB) error { return readBusiness(db, &r) }); err != nil {
			return nil, err
		}
		if name == demoRollcall {
			if err := d.readAsides(&r); err != nil {
				return nil, err
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func readBusiness(db *sql.DB, r *check.Run) error {
	if err := db.QueryRow(`SELECT cents FROM balance`).Scan(&r.Balance); err != nil {
		return err
	}
	rows, err := db.Query(`SELECT id, cents, pid, at FROM ledger ORDER BY n`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	for rows.Next() {
		var e check.Effect
		if err := rows.Scan(&e.ID, &e.Cents, &e.PID, &e.At); err != nil {
			return err
		}
		r.Effects = append(r.Effects, e)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var list string
	err = db.QueryRow(`SELECT COALESCE(json_group_array(DISTINCT id), '[]') FROM rejected`).Scan(&list)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(list), &r.Rejected)
}

// readAsides reads what rollcall set aside.
func (d *demo) readAsides(r *check.Run) error {
	store, err := openDemoStore(d.folder)
	if err != nil {
		return err
	}
	rows, err := store.Asides().List(context.Background(), demoRollcall,
		rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideDead, rollcall.AsideParked}, Max: len(d.plan.Orders)})
	for _, row := range rows {
		if row.State == rollcall.AsideParked {
			r.Parked = append(r.Parked, orderID(&row.Message))
		} else {
			r.Rejected = append(r.Rejected, orderID(&row.Message))
		}
	}
	slices.SortFunc(r.Rejected, cmp.Compare[string])
	if cerr := store.Close(); err == nil {
		err = cerr
	}
	return err
}
