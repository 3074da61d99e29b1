package bench

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Step is a part of what the creation, expansion or deletion of a plain volume does.
type Step string

// The steps, in the order in which reports show them.
const (
	// StepTurn is what passes before the first call to a storage node: the wait for a turn.
	StepTurn Step = "turn"
	// StepLook is looking for what is there, and at the nodes to place bricks.
	StepLook Step = "look"
	// StepBricks is making and removing brick directories, and setting their quotas.
	StepBricks Step = "brick directories"
	StepCreate Step = "gluster create"
	StepSet    Step = "gluster set"
	StepStart  Step = "gluster start"
	// StepStatus is looking whether the bricks are online.
	StepStatus Step = "gluster status"
	StepStop   Step = "gluster stop"
	StepDelete Step = "gluster delete"
	// StepRest is what passes between calls, such as the pauses between looks at the bricks.
	StepRest Step = "rest"
)

// Steps returns all of them, in that order.
func Steps() []Step {
	return []Step{StepTurn, StepLook, StepBricks, StepCreate, StepSet, StepStart, StepStatus, StepStop, StepDelete, StepRest}
}

// Took is how long something took for one volume.
type Took struct {
	Whole time.Duration
	// Steps add up to the whole; nil where nobody told of any.
	Steps map[Step]time.Duration
}

// stopwatch adds up the steps of one volume. Each moment counts for one step: of
// calls that run at once, as on several nodes, for that of the one that began first.
type stopwatch struct {
	mu          sync.Mutex
	begun, last time.Time
	// running are the steps of the calls that run, in the order in which they began.
	running []Step
	called  bool
	spent   map[Step]time.Duration
}

type stopwatchKey struct{}

// watched does something for one volume and returns how long it took.
func watched(ctx context.Context, do func(ctx context.Context) error) (Took, error) {
	now := time.Now()
	w := &stopwatch{begun: now, last: now, spent: map[Step]time.Duration{}}
	err := do(context.WithValue(ctx, stopwatchKey{}, w))
	return w.took(), err
}

// During tells whoever measures the volume of this context that a call of a step
// begins, and by the function that it returns that the call has ended.
func During(ctx context.Context, step Step) (end func()) {
	w, ok := ctx.Value(stopwatchKey{}).(*stopwatch)
	if !ok {
		return func() {}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pass()
	w.called = true
	w.running = append(w.running, step)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pass()
		i := slices.Index(w.running, step)
		w.running = slices.Delete(w.running, i, i+1)
	}
}

// pass counts the time since something last changed.
func (w *stopwatch) pass() {
	step := StepRest
	switch {
	case len(w.running) > 0:
		step = w.running[0]
	case !w.called:
		step = StepTurn
	}
	now := time.Now()
	w.spent[step] += now.Sub(w.last)
	w.last = now
}

func (w *stopwatch) took() Took {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pass()
	t := Took{Whole: w.last.Sub(w.begun)}
	if w.called {
		t.Steps = maps.Clone(w.spent)
	}
	return t
}

// meanSteps returns the seconds that a volume spent in each step, or nil where one
// of the volumes does not tell.
func meanSteps(all []Took) map[Step]float64 {
	mean := map[Step]float64{}
	for _, t := range all {
		if t.Steps == nil {
			return nil
		}
		for step, d := range t.Steps {
			mean[step] += d.Seconds() / float64(len(all))
		}
	}
	return mean
}
