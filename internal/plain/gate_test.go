package plain

import (
	"context"
	"fmt"
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
func TestGateLeavesTimeForTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all = time.Minute
		g := newGate(1)
		first, err := g.enter(t.Context(), "a", "test", "first")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), all)
		defer cancel()
		if _, err := g.enter(ctx, "a", "test", "late"); !volume.Is(err, volume.Busy) {
			t.Errorf("no turn: %v, want Busy", err)
		}
		if waited := time.Since(began); waited != all/2 || ctx.Err() != nil {
			t.Errorf("it was told after %v of %v (%v), want half of it", waited, all, ctx.Err())
		}

		ctx, cancel = context.WithTimeout(t.Context(), all)
		defer cancel()
		time.AfterFunc(all/2-time.Second, first)
		second, err := g.enter(ctx, "a", "test", "in time")
		if err != nil {
			t.Fatalf("its turn came in time: %v", err)
		}
		second()
		if g.running != 0 || len(g.lines) != 0 {
			t.Errorf("%d run and %d lines wait, want none", g.running, len(g.lines))
		}
	})
}

// A storm of one class does not keep another class, or a deletion, waiting for its end.
func TestGateIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(2)
		var (
			mu    sync.Mutex
			order []string
		)
		operate := func(flow string) {
			leave, err := g.enter(t.Context(), flow, "test", flow)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, flow)
			mu.Unlock()
			<-time.After(time.Second) // the clock of synctest
			leave()
		}
		for range 50 {
			go operate("storm")
		}
		synctest.Wait()
		for range 2 {
			go operate("other class")
			go operate(flowDelete)
		}
		synctest.Wait()
		<-time.After(time.Hour)
		synctest.Wait()
		if len(order) != 54 {
			t.Fatalf("%d had their turn, want 54", len(order))
		}
		// Two of the storm ran when the others came; from then on the three take turns.
		for _, flow := range []string{"other class", flowDelete} {
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
func TestGateLosesNoTurn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 3).Draw(rt, "size")
		callers := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) [3]int {
			return [3]int{
				rapid.IntRange(0, 2).Draw(rt, "flow"), rapid.IntRange(0, 20).Draw(rt, "comes after"), rapid.IntRange(1, 20).Draw(rt, "has time for"),
			}
		}), 1, 20).Draw(rt, "callers")
		synctest.Test(t, func(t *testing.T) {
			g := newGate(size)
			var running atomic.Int64
			for _, c := range callers {
				go func() {
					<-time.After(time.Duration(c[1]) * time.Second)
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Duration(c[2])*time.Second)
					defer cancel()
					leave, err := g.enter(ctx, fmt.Sprint(c[0]), "test", "a volume")
					if err != nil {
						return
					}
					if n := running.Add(1); n > int64(size) {
						t.Errorf("%d run, want at most %d", n, size)
					}
					<-time.After(3 * time.Second)
					running.Add(-1)
					leave()
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
