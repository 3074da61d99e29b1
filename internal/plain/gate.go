package plain

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"bricklayer.csi/internal/volume"
)

// gate lets a set number of operations change the cluster at once. glusterd
// serialises them anyway; what waits here costs it nothing.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int64
}

func newGate(n int) *gate { return &gate{slots: make(chan struct{}, n)} }

// waitShare is the part of a caller's time in which its turn must come. The rest is
// for the work: one that begins late is broken off in the middle and done again,
// and in a storm on slow nodes nearly all would be.
const waitShare = 2

// enter waits for a turn and returns the function that ends it. Busy, with how
// many wait, where the turn does not come in time.
func (g *gate) enter(ctx context.Context, op, on string) (leave func(), err error) {
	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots }, nil
	default:
	}
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/waitShare)
		defer cancel()
	}
	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots }, nil
	case <-ctx.Done():
		return nil, &volume.Error{
			Kind: volume.Busy, Op: op, On: on,
			Err:  errors.Join(fmt.Errorf("%d operations run on this pool and %d wait", cap(g.slots), g.waiting.Load()), context.Cause(ctx)),
			Next: "nothing was changed; repeat the call later",
		}
	}
}
