package server
import ("context";"os";"testing";"time";"sync";"fmt";"github.com/rollcall-mq/rollcall/internal/failpoint")
func TestZZ(t *testing.T) {
	var p Page
	n:=100000
	if os.Getenv("ZZN")!="" { fmt.Sscan(os.Getenv("ZZN"),&n) }
	ctx:=context.Background()
	var mu sync.Mutex
	sum:=map[string]time.Duration{}; cnt:=map[string]int{}
	var last time.Time; lastS:=""
	if os.Getenv("ZZT")!="" { ctx=failpoint.With(ctx,func(_ context.Context, step string, k int) error { mu.Lock(); now:=time.Now(); if lastS!="" {sum[lastS+">"+step]+=now.Sub(last); cnt[lastS+">"+step]++}; last,lastS=now,step; sum["items@"+step]+=time.Duration(k); cnt["items@"+step]++; mu.Unlock(); return nil }) }
	c := Config{Postgres: os.Getenv("ZZ"), Deliveries: n, Only: os.Getenv("ZZONLY"), Repetitions: 1, Network: os.Getenv("ZZNET")!="", Log: func(line string) { t.Log(line); for k,v:=range sum { t.Log(k, cnt[k], v/time.Duration(cnt[k])) }; clear(sum); clear(cnt) }}
	if err := Run(ctx, c, &p); err != nil { t.Fatal(err) }
}
