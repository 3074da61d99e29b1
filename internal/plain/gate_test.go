package plain

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"bricklayer.csi/internal/volume"
)

// Whoever gets a turn has half of its time left for the work; whoever cannot, is
// told so, and has the other half to hear it.
func TestGateLeavesTimeForTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all = time.Minute
		g := newGate(1)
		first, err := g.enter(t.Context(), "test", "first")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), all)
		defer cancel()
		if _, err := g.enter(ctx, "test", "late"); !volume.Is(err, volume.Busy) {
			t.Errorf("no turn: %v, want Busy", err)
		}
		if waited := time.Since(began); waited != all/2 || ctx.Err() != nil {
			t.Errorf("it was told after %v of %v (%v), want half of it", waited, all, ctx.Err())
		}

		ctx, cancel = context.WithTimeout(t.Context(), all)
		defer cancel()
		time.AfterFunc(all/2-time.Second, first)
		second, err := g.enter(ctx, "test", "in time")
		if err != nil {
			t.Fatalf("its turn came in time: %v", err)
		}
		second()
		if n := g.waiting.Load(); n != 0 {
			t.Errorf("%d wait, want none", n)
		}
	})
}
