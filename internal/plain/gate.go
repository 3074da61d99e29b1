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

// answerTime is left of a caller's time when it is told that its turn did not
// come, so that it hears our answer and not its own deadline.
const answerTime = 2 * time.Second

// enter waits for a turn and returns the function that ends it. Busy, with how
// many wait, where the turn does not come in the caller's time.
func (g *gate) enter(ctx context.Context, op, on string) (leave func(), err error) {
	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots }, nil
	default:
	}
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	if deadline, ok := ctx.Deadline(); ok {
		spare := min(answerTime, time.Until(deadline)/10)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-spare))
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
