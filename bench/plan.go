package bench

import (
	"fmt"
	"log/slog"
	"time"

	"bricklayer.csi/bench/fio"
	"bricklayer.csi/bench/host"
	"bricklayer.csi/bench/stats"
)

// Limits on a plan.
const (
	maxRounds   = 200
	maxDuration = time.Hour
	maxTargets  = 12
)

// Plan is what to run.
type Plan struct {
	Jobs []fio.Job
	// Rounds are those that count; WarmUp are run before them and dropped.
	Rounds, WarmUp int
	// Duration is how long a timed job runs.
	Duration time.Duration
	// DropCaches empties the page caches of all hosts before each run.
	DropCaches bool
	Targets    []Target
	// Baseline is the name of the target that others are compared with.
	Baseline string
	// Nodes are the storage nodes, the counters of which are read and the caches
	// of which are dropped.
	Nodes []host.Host
	// OnReady is run by a shell when all targets are ready, before the first round,
	// and OnDone after the last one, before they are removed; empty for nothing. They
	// may hold disks back for the time of the rounds.
	OnReady, OnDone string
	// Note is the user's own.
	Note string
	// Version is the program's.
	Version string
}

// Check refuses plans that say nothing that can be done.
func (p Plan) Check() error {
	switch {
	case len(p.Jobs) == 0:
		return fmt.Errorf("there is no job")
	case p.Rounds < 1 || p.Rounds > maxRounds:
		return fmt.Errorf("rounds: %d: want 1 to %d, and %d or more for a verdict", p.Rounds, maxRounds, stats.MinRounds)
	case p.WarmUp < 0 || p.WarmUp > maxRounds:
		return fmt.Errorf("warm-up: %d rounds: want 0 to %d", p.WarmUp, maxRounds)
	case p.Duration < 100*time.Millisecond || p.Duration > maxDuration:
		return fmt.Errorf("duration: %s: want 100ms to %s", p.Duration, maxDuration)
	case len(p.Targets) == 0 || len(p.Targets) > maxTargets:
		return fmt.Errorf("%d targets: want 1 to %d", len(p.Targets), maxTargets)
	}
	names := map[string]bool{}
	for _, t := range p.Targets {
		if names[t.Name()] {
			return fmt.Errorf("target %s is given twice", t.Name())
		}
		names[t.Name()] = true
	}
	if p.Baseline != "" && !names[p.Baseline] {
		return fmt.Errorf("baseline %.80q: want the name of a target", p.Baseline)
	}
	return nil
}

// runs is how many runs there will be.
func (p Plan) runs() int { return len(p.Jobs) * len(p.Targets) * (p.Rounds + p.WarmUp) }

// Estimate is about how long the runs will take, before anything is known of them.
func (p Plan) Estimate() time.Duration {
	var each time.Duration
	for _, j := range p.Jobs {
		if each += overhead; j.Timed {
			each += p.Duration
		}
	}
	return each * time.Duration(len(p.Targets)*(p.Rounds+p.WarmUp))
}

// overhead is about what a run takes beside its time.
const overhead = 1500 * time.Millisecond

// Progress is how far it has come.
type Progress struct {
	// Text is what is done now, or what came of it.
	Text string
	// Done of Total runs; Total is 0 where it is not about runs.
	Done, Total int
	// Left is about how long it will take still.
	Left time.Duration
}

// Hooks are told what goes on.
type Hooks struct {
	Progress func(Progress)
	// Save gets the result after each round, so that a kill does not lose it.
	Save func(Result) error
	Log  *slog.Logger
}
