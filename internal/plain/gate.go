package plain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bricklayer.csi/internal/volume"
)

// gate lets a set number of operations change the cluster at once. glusterd
// serialises them anyway; what waits here costs it nothing. Those that wait form
// a line for each flow, and lines take turns: a storm of claims of one class
// does not keep those of another waiting, nor deletions, which give room back.
type gate struct {
	size int

	mu      sync.Mutex
	running int
	lines   []line // in the order of their turns; none is empty
}

// line is those that wait of one flow, first come first.
type line struct {
	flow    string
	waiting []chan struct{} // closed when the turn has come
}

// flows besides those of creations, which are the fingerprints of their parameters.
const (
	flowDelete = "delete"
	flowExpand = "expand"
)

func newGate(n int) *gate { return &gate{size: n} }

// waitShare is the part of a caller's time in which its turn must come. The rest is
// for the work: one that begins late is broken off in the middle and done again,
// and in a storm on slow nodes nearly all would be.
const waitShare = 2

// enter waits for a turn and returns the function that ends it. Busy, with how
// many wait, where the turn does not come in time.
func (g *gate) enter(ctx context.Context, flow, op, on string) (leave func(), err error) {
	turn := g.queue(flow)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/waitShare)
		defer cancel()
	}
	select {
	case <-turn:
		return g.leave, nil
	case <-ctx.Done():
		same, all := g.giveUp(turn)
		return nil, &volume.Error{
			Kind: volume.Busy, Op: op, On: on,
			Err:  errors.Join(fmt.Errorf("%d operations run on this pool and %d wait, %d of this kind and class", g.size, all, same), context.Cause(ctx)),
			Next: "nothing was changed; repeat the call later",
		}
	}
}

// queue puts a caller into the line of its flow, or lets it pass at once.
func (g *gate) queue(flow string) (turn chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	turn = make(chan struct{})
	if g.running < g.size {
		g.running++
		close(turn)
		return turn
	}
	i := slices.IndexFunc(g.lines, func(l line) bool { return l.flow == flow })
	if i < 0 {
		g.lines = append(g.lines, line{flow: flow})
		i = len(g.lines) - 1
	}
	g.lines[i].waiting = append(g.lines[i].waiting, turn)
	return turn
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass()
}

// pass gives a turn that ended to the first of the line whose turn it is.
func (g *gate) pass() {
	if len(g.lines) == 0 {
		g.running--
		return
	}
	next := g.lines[0]
	g.lines = g.lines[1:]
	close(next.waiting[0])
	if next.waiting = next.waiting[1:]; len(next.waiting) > 0 {
		g.lines = append(g.lines, next)
	}
}

// giveUp takes a caller out of its line, or passes on the turn that came just
// now. It returns how many waited, in that line and in all.
func (g *gate) giveUp(turn chan struct{}) (same, all int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.lines {
		all += len(l.waiting)
	}
	i := slices.IndexFunc(g.lines, func(l line) bool { return slices.Contains(l.waiting, turn) })
	if i < 0 {
		g.pass()
		return 0, all
	}
	l := &g.lines[i]
	same = len(l.waiting)
	l.waiting = slices.DeleteFunc(l.waiting, func(c chan struct{}) bool { return c == turn })
	if len(l.waiting) == 0 {
		g.lines = slices.Delete(g.lines, i, i+1)
	}
	return same, all
}
