package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bricklayer.csi/internal/volume"
)

// turns let a number of operations change the cluster at once. glusterd
// serialises them anyway; what waits here costs it nothing. Those that wait form
// a line for each flow, and lines take turns: a storm of claims of one class
// does not keep those of another waiting, nor deletions, which give room back.
//
// The number adapts: it is halved when an operation fails, or a round of them takes
// much longer than it did lately, and grows by one with each good round.
type turns struct {
	most int

	mu      sync.Mutex
	limit   int // 1 to most
	running int
	lines   []line // in the order of their turns; none is empty
	// lowered is when the limit was; what began before tells nothing new.
	lowered time.Time
	// busy is for how long something ran, before since where something does now.
	busy  time.Duration
	since time.Time
	round round
	// best is the shortest time an operation that a round took lately.
	best time.Duration
}

// round is some operations, one after the other, by whose time together the limit
// adapts. They wait for each other in glusterd: the time of one says nothing.
type round struct {
	// from is how long something had run at its beginning.
	from time.Duration
	// ends is how many operations have ended.
	ends int
	// full is true where somebody had to wait.
	full bool
}

// line is those that wait of one flow, first come first.
type line struct {
	flow    string
	waiting []*place
}

// place is one caller's in a line, and then among those that run.
type place struct {
	turn  chan struct{} // closed when the turn has come
	began time.Time     // when it did
}

func newTurns(most int) *turns {
	return &turns{most: most, limit: most}
}

// waitShare is the part of a caller's time in which its turn must come. The rest is
// for the work: one that begins late is broken off in the middle and done again,
// and in a storm on slow nodes nearly all would be.
const waitShare = 2

// enter waits for a turn, which leave ends. Busy, with how many wait, where it
// does not come in time.
func (t *turns) enter(ctx context.Context, r Request) (*place, error) {
	p := t.queue(r.Flow)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/waitShare)
		defer cancel()
	}
	select {
	case <-p.turn:
		return p, nil
	case <-ctx.Done():
		running, same, all := t.giveUp(p)
		return nil, &volume.Error{
			Kind: volume.Busy, Op: r.Op, On: r.On,
			Err:  errors.Join(fmt.Errorf("%d operations run on this pool and %d wait, %d of this kind and class", running, all, same), context.Cause(ctx)),
			Next: "nothing was changed; repeat the call later",
		}
	}
}

// queue puts a caller into the line of its flow, or lets it pass at once.
func (t *turns) queue(flow string) *place {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &place{turn: make(chan struct{})}
	i := slices.IndexFunc(t.lines, func(l line) bool { return l.flow == flow })
	if i < 0 {
		t.lines = append(t.lines, line{flow: flow})
		i = len(t.lines) - 1
	}
	t.lines[i].waiting = append(t.lines[i].waiting, p)
	t.pass()
	t.round.full = t.round.full || len(t.lines) > 0
	return p
}

// pass gives the turns that are free to the first of the lines whose turn it is.
func (t *turns) pass() {
	for t.running < t.limit && len(t.lines) > 0 {
		next := t.lines[0]
		t.lines = t.lines[1:]
		p := next.waiting[0]
		p.began = time.Now()
		if t.running++; t.running == 1 {
			t.since = p.began
		}
		close(p.turn)
		if next.waiting = next.waiting[1:]; len(next.waiting) > 0 {
			t.lines = append(t.lines, next)
		}
	}
}

// leave ends a turn, and learns from how it ended.
func (t *turns) leave(p *place, whole bool, how end) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.learn(p, whole, how)
	t.end()
}

// end takes one off those that run.
func (t *turns) end() {
	if t.running--; t.running == 0 {
		t.busy += time.Since(t.since)
	}
	t.pass()
}

const (
	// slowness is how many times its best time a round may take: kinds of
	// operations differ, and so do moods.
	slowness = 3
	// forgetting is by how much, in percent, the best is less strict after each
	// round, so that a cluster that has slowed for good is the measure at last.
	forgetting = 10
	// leastRound is how many operations a round has at least.
	leastRound = 4
)

// learn adapts the limit. A round in which anything ended that did not do all the
// work of its kind is not judged.
func (t *turns) learn(p *place, whole bool, how end) {
	ran := t.busy + time.Since(t.since)
	if !whole || how != worked {
		t.round = round{from: ran}
		if how == failed && !p.began.Before(t.lowered) {
			t.lower()
		}
		return
	}
	if t.round.ends++; t.round.ends < max(t.limit, leastRound) {
		return
	}
	took := (ran - t.round.from) / time.Duration(t.round.ends)
	switch {
	case t.best > 0 && took > slowness*t.best:
		t.lower()
	case t.round.full:
		t.limit = min(t.most, t.limit+1)
	}
	if t.best += t.best / 100 * forgetting; t.best == 0 || took < t.best {
		t.best = took
	}
	t.round = round{from: ran, full: len(t.lines) > 0}
}

func (t *turns) lower() { t.limit, t.lowered = max(1, t.limit/2), time.Now() }

// giveUp takes a caller out of its line, or ends the turn that came just now. It
// returns how many run, and how many waited in that line and in all.
func (t *turns) giveUp(p *place) (running, same, all int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	running = t.running
	for _, l := range t.lines {
		all += len(l.waiting)
	}
	i := slices.IndexFunc(t.lines, func(l line) bool { return slices.Contains(l.waiting, p) })
	if i < 0 {
		t.end()
		return running, 0, all
	}
	l := &t.lines[i]
	same = len(l.waiting)
	l.waiting = slices.DeleteFunc(l.waiting, func(o *place) bool { return o == p })
	if len(l.waiting) == 0 {
		t.lines = slices.Delete(t.lines, i, i+1)
	}
	return running, same, all
}

func (t *turns) state() (running, waiting, limit int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.lines {
		waiting += len(l.waiting)
	}
	return t.running, waiting, t.limit
}
