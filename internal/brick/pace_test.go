package brick

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"bricklayer.csi/internal/pause"
)

func TestPace(t *testing.T) {
	for _, rate := range []int{1, 7, 50, 1000, MaxTrashEntriesPerSec} {
		synctest.Test(t, func(t *testing.T) {
			p := newPace(rate)
			steps := 5*rate + 1
			began := time.Now()
			for range steps {
				must(t, p.step(t.Context()))
			}
			if took := time.Since(began); took < 4900*time.Millisecond || took > 5200*time.Millisecond && rate > 1 {
				t.Errorf("%d steps at %d a second took %v", steps, rate, took)
			}
		})
	}
}

func TestPaceIsNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(100)
		must(t, pause.For(t.Context(), time.Minute)) // a slow disk
		began := time.Now()
		for range 100 {
			must(t, p.step(t.Context()))
		}
		if took := time.Since(began); took < 900*time.Millisecond {
			t.Errorf("100 steps after a pause took %v", took)
		}
	})
}

func TestPaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p := newPace(1)
		var err error
		for err == nil {
			err = p.step(ctx)
		}
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(p.since) > 2*time.Second {
			t.Errorf("%v", err)
		}
	})
}
