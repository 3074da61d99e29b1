// Package guard owns admission to a backend of a pool: whether an operation may
// begin now, and whether a storage node may take another brick. It is one place
// for both backends, so that storage nodes come first in the same way.
//
// Three things stand in the way, in this order: a breaker, which refuses at once
// while the backend fails; turns, which let a few operations run at a time and
// fewer when they slow down; and a budget, which a node's own facts must leave
// room in. It keeps what it knows in memory only, and refuses to know how an
// operation is carried out and where a brick goes.
package guard

import (
	"context"
	"errors"
	"sync"
	"time"

	"bricklayer.csi/internal/volume"
)

// Flows besides those of creations, which are the fingerprints of their parameters.
const (
	FlowDelete = "delete"
	FlowExpand = "expand"
)

// The defaults of Settings.
const (
	DefaultFailures = 5
	DefaultPause    = 30 * time.Second
)

// Settings say how a backend is guarded. Zero values mean the defaults.
type Settings struct {
	// Operations is how many may run at once; 1 where below.
	Operations int
	// Failures is how many in a row open the breaker.
	Failures int
	// Pause is how long it stays open before one operation may try.
	Pause time.Duration
	// Budget is what a storage node must have to take a brick.
	Budget Budget
}

// Guard admits operations to one backend of a pool. It is safe for concurrent
// use. Make it with New.
type Guard struct {
	turns   *turns
	breaker *breaker
	budget  Budget
	coming  coming

	mu       sync.Mutex
	refusals map[Reason]int64
}

// Reason says what refused.
type Reason string

// The reasons.
const (
	ByBreaker Reason = "breaker"
	ByTurns   Reason = "turns"
	ByBudget  Reason = "budget"
)

// Reasons returns all of them.
func Reasons() []Reason { return []Reason{ByBreaker, ByTurns, ByBudget} }

// New returns a guard whose breaker is closed and to which nothing has come yet.
func New(s Settings) *Guard {
	if s.Failures <= 0 {
		s.Failures = DefaultFailures
	}
	if s.Pause <= 0 {
		s.Pause = DefaultPause
	}
	return &Guard{
		turns:    newTurns(max(1, s.Operations)),
		breaker:  &breaker{failures: s.Failures, pause: s.Pause},
		budget:   s.Budget.withDefaults(),
		refusals: map[Reason]int64{},
	}
}

// Request is what a caller wants to do.
type Request struct {
	// Flow is FlowDelete, FlowExpand, or the fingerprint of a creation's parameters.
	Flow string
	// Op and On are those of the error where it is refused.
	Op, On string
}

// Turn is an operation that runs. What it says of itself makes the guard judge it rightly.
type Turn struct {
	whole, spared bool
}

// Whole says that the operation does all of its kind's work, so that the time it
// takes can be compared: it neither finds its work done nor ends it for another.
func (t *Turn) Whole() { t.whole = true }

// Spare says that a failure of the operation tells nothing of the backend as a
// whole: the part that ails is known, and other operations can do without it.
func (t *Turn) Spare() { t.spared = true }

// Do runs an operation when its turn has come, and learns from its end. Where it
// may not run, the error is Unavailable (the breaker is open) or Busy (no turn
// came in half of the caller's time), and nothing was changed.
func (g *Guard) Do(ctx context.Context, r Request, operate func(t *Turn) error) error {
	if r.Flow != FlowDelete {
		if err := g.breaker.look(r); err != nil {
			return g.refuse(ByBreaker, err)
		}
	}
	p, err := g.turns.enter(ctx, r)
	if err != nil {
		return g.refuse(ByTurns, err)
	}
	t := &Turn{}
	end := neutral
	defer func() { g.turns.leave(p, t.whole, end) }()
	trial := false
	if r.Flow != FlowDelete { // a deletion gives room back, and passes always
		if trial, err = g.breaker.admit(r); err != nil {
			return g.refuse(ByBreaker, err)
		}
	}
	defer func() { g.breaker.learn(end, trial, err) }()
	err = operate(t)
	end = endOf(ctx, t, err)
	return err
}

func (g *Guard) refuse(by Reason, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusals[by]++
	return err
}

// end is what the end of an operation tells of the backend.
type end uint8

const (
	neutral end = iota
	worked
	failed
)

// endOf judges an error. Only a part that does not answer tells of the backend's
// state: a request that is refused says something of the request, and one whose
// caller went away nothing at all.
func endOf(ctx context.Context, t *Turn, err error) end {
	switch {
	case err == nil:
		return worked
	case t.spared || errors.Is(ctx.Err(), context.Canceled):
		return neutral
	case volume.Is(err, volume.Unavailable), volume.Is(err, volume.Internal) && errors.Is(err, context.DeadlineExceeded):
		return failed
	}
	return neutral
}

// State is what a guard does at one moment, for people and metrics.
type State struct {
	// Running operations, those that Wait, and how many may run now.
	Running, Waiting, Limit int
	Breaker                 BreakerState
	// Why and Until are of a breaker that is not closed: what failed last, and
	// when an operation may try.
	Why   string
	Until time.Time
	// Refusals are how many each reason has refused.
	Refusals map[Reason]int64
}

// State returns the present state.
func (g *Guard) State() State {
	s := State{Refusals: map[Reason]int64{}}
	s.Running, s.Waiting, s.Limit = g.turns.state()
	s.Breaker, s.Why, s.Until = g.breaker.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range Reasons() {
		s.Refusals[r] = g.refusals[r]
	}
	return s
}
