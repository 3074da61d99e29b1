package heketi

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"bricklayer.csi/internal/volume"
)

// gate lets one caller at a time ask heketi for a change, and only while heketi
// has fewer than a set number of operations running. The guard has let no more
// callers than that in; but heketi works on for those who are gone, and for other
// controllers. What runs is counted in its database; the turn ends when it has
// taken the request, and with it the count is right.
type gate struct {
	turn    chan struct{}
	waiting atomic.Int64
}

func newGate() *gate { return &gate{turn: make(chan struct{}, 1)} }

// enter waits for the turn and for room in heketi, and returns the newest view.
// Busy, with how many wait, where neither comes in the caller's time. The turn
// is the caller's until it calls leave, which may be called twice.
func (b *Backend) enter(ctx context.Context, l login, op, on string) (v *view, leave func(), err error) {
	g := b.gate
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	running := -1
	busy := func() error {
		e := &volume.Error{
			Kind: volume.Busy, Op: op, On: on,
			Err:  fmt.Errorf("%d callers wait for their turn at heketi: %w", g.waiting.Load(), context.Cause(ctx)),
			Next: "nothing was changed; repeat the call later",
		}
		if running >= 0 {
			e.Err = fmt.Errorf("heketi has %d operations running, %d are allowed; %w", running, b.MaxInFlight, e.Err)
		}
		return e
	}
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, busy()
	}
	left := false
	leave = func() {
		if !left {
			left = true
			<-g.turn
		}
	}
	for later := b.newBackoff(); ; {
		if v, err = b.look(ctx, l, 0); err != nil {
			leave()
			return nil, nil, err
		}
		if running = v.running(); running < b.MaxInFlight {
			return v, leave, nil
		}
		if later.wait(ctx) != nil {
			leave()
			return nil, nil, busy()
		}
	}
}

// answerTime is left of a caller's time when it is told that its operation is
// not at its end, so that it hears our answer and not its own deadline.
const answerTime = 2 * time.Second

// hurry returns a context that ends a little before the caller's.
func hurry(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(answerTime, max(0, time.Until(deadline)/10))))
}
