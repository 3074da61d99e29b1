package guard

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"bricklayer.csi/internal/volume"
)

// Whoever gets a turn has half of its time left for the work; whoever cannot, is
// told so, and has the other half to hear it.
func TestTurnsLeaveTimeForTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all = time.Minute
		g := newTurns(1)
		first, err := g.enter(t.Context(), Request{Flow: "a", Op: "test", On: "first"})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), all)
		defer cancel()
		if _, err := g.enter(ctx, Request{Flow: "a", Op: "test", On: "late"}); !volume.Is(err, volume.Busy) {
			t.Errorf("no turn: %v, want Busy", err)
		}
		if waited := time.Since(began); waited != all/2 || ctx.Err() != nil {
			t.Errorf("it was told after %v of %v (%v), want half of it", waited, all, ctx.Err())
		}

		ctx, cancel = context.WithTimeout(t.Context(), all)
		defer cancel()
		time.AfterFunc(all/2-time.Second, func() { g.leave(first, false, worked) })
		second, err := g.enter(ctx, Request{Flow: "a", Op: "test", On: "in time"})
		if err != nil {
			t.Fatalf("its turn came in time: %v", err)
		}
		g.leave(second, false, worked)
		if g.running != 0 || len(g.lines) != 0 {
			t.Errorf("%d run and %d lines wait, want none", g.running, len(g.lines))
		}
	})
}

// A storm of one class does not keep another class, or a deletion, waiting for its end.
func TestTurnsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTurns(2)
		var (
			mu    sync.Mutex
			order []string
		)
		operate := func(flow string) {
			p, err := g.enter(t.Context(), Request{Flow: flow, Op: "test", On: flow})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, flow)
			mu.Unlock()
			<-time.After(time.Second) // the clock of synctest
			g.leave(p, true, worked)
		}
		for range 50 {
			go operate("storm")
		}
		synctest.Wait()
		for range 2 {
			go operate("other class")
			go operate(FlowDelete)
		}
		synctest.Wait()
		<-time.After(time.Hour)
		synctest.Wait()
		if len(order) != 54 {
			t.Fatalf("%d had their turn, want 54", len(order))
		}
		// Two of the storm ran when the others came; from then on the three take turns.
		for _, flow := range []string{"other class", FlowDelete} {
			var at []int
			for i, f := range order {
				if f == flow {
					at = append(at, i)
				}
			}
			if len(at) != 2 || at[1] >= 2+3*2 {
				t.Errorf("%s had its turns at %v of %v", flow, at, order[:10])
			}
		}
	})
}

// However callers come, work and give up, no more run than may, and every turn is passed on.
func TestNoTurnIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 3).Draw(rt, "size")
		callers := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) [3]int {
			return [3]int{
				rapid.IntRange(0, 2).Draw(rt, "flow"), rapid.IntRange(0, 20).Draw(rt, "comes after"), rapid.IntRange(1, 20).Draw(rt, "has time for"),
			}
		}), 1, 20).Draw(rt, "callers")
		synctest.Test(t, func(t *testing.T) {
			g := newTurns(size)
			var running atomic.Int64
			for _, c := range callers {
				go func() {
					<-time.After(time.Duration(c[1]) * time.Second)
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Duration(c[2])*time.Second)
					defer cancel()
					p, err := g.enter(ctx, Request{Flow: fmt.Sprint(c[0]), Op: "test", On: "a volume"})
					if err != nil {
						return
					}
					if n := running.Add(1); n > int64(size) {
						t.Errorf("%d run, want at most %d", n, size)
					}
					<-time.After(3 * time.Second)
					running.Add(-1)
					g.leave(p, c[1]%2 == 0, end(c[2]%3))
				}()
			}
			<-time.After(time.Hour)
			synctest.Wait()
			if g.running != 0 || len(g.lines) != 0 {
				t.Errorf("in the end %d run and %d lines wait", g.running, len(g.lines))
			}
		})
	})
}

// storm has callers enter one after the other as soon as they may, each for work
// that waits for that of the others as in glusterd, and returns the limit after each.
func storm(t *testing.T, g *turns, n int, work time.Duration, how end) (limits []int) {
	t.Helper()
	glusterd := make(chan struct{}, 1)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			p, err := g.enter(t.Context(), Request{Flow: "class", Op: "test", On: "a volume"})
			if err != nil {
				t.Error(err)
				return
			}
			glusterd <- struct{}{}
			<-time.After(work)
			<-glusterd
			g.leave(p, true, how)
			_, _, limit := g.state()
			mu.Lock()
			defer mu.Unlock()
			limits = append(limits, limit)
		})
	}
	wg.Wait()
	return limits
}

// As many run as may while that costs nothing, fewer when each takes longer than
// they did, and as many again when they are quick again, or slow for good.
func TestTurnsAdaptToTheTimeTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTurns(8)
		if limits := storm(t, g, 40, time.Second, worked); slices.Min(limits) != 8 {
			t.Errorf("with operations of equal length the limit was %v, want 8", limits)
		}
		if limits := storm(t, g, 20, 10*time.Second, worked); slices.Min(limits) != 1 {
			t.Errorf("with operations ten times as long the limit was %v, want 1 in the end", limits)
		}
		<-time.After(time.Hour) // idleness is not slowness
		if limits := storm(t, g, 60, time.Second, worked); slices.Max(limits) != 8 {
			t.Errorf("with quick operations again the limit was %v, want 8 in the end", limits)
		}
		storm(t, g, 20, 10*time.Second, worked)
		if limits := storm(t, g, 200, 10*time.Second, worked); slices.Max(limits) != 8 {
			t.Errorf("with operations that stay long the limit was %v, want 8 in the end", limits)
		}
	})
}

// Failures that come together halve the limit once, and it never falls below one.
func TestTurnsAdaptToFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		together := newTurns(8)
		var places []*place
		for range 8 {
			p, err := together.enter(t.Context(), Request{Flow: "class"})
			if err != nil {
				t.Fatal(err)
			}
			places = append(places, p)
		}
		<-time.After(time.Second)
		for _, p := range places {
			together.leave(p, false, failed)
		}
		if _, _, limit := together.state(); limit != 4 {
			t.Errorf("after eight failures at once %d may run, want 4", limit)
		}
		storm(t, together, 10, time.Second, failed)
		if running, waiting, limit := together.state(); running != 0 || waiting != 0 || limit != 1 {
			t.Errorf("after many failures %d run, %d wait, %d may run; want 0, 0, 1", running, waiting, limit)
		}
		storm(t, together, 60, time.Second, neutral)
		if _, _, limit := together.state(); limit != 1 {
			t.Errorf("what tells nothing has raised the limit to %d", limit)
		}
		if limits := storm(t, together, 60, time.Second, worked); slices.Max(limits) != 8 {
			t.Errorf("after many good ones the limit was %v, want 8 in the end", limits)
		}
	})
}
