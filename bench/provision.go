package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bricklayer.csi/bench/fio"
	"bricklayer.csi/bench/host"
)

// Maker makes, expands and deletes volumes: what provisioning is compared between.
// Its methods are called at once for different volumes.
type Maker interface {
	Name() string
	Kind() string
	Facts() map[string]string
	// Make returns how long it took, by the clock that is nearest to the work.
	Make(ctx context.Context, volume string) (time.Duration, error)
	// Expand doubles the volume, and Supported is false where there is nothing to do.
	Expand(ctx context.Context, volume string) (took time.Duration, supported bool, err error)
	// Remove removes the volume, or what there is of it.
	Remove(ctx context.Context, volume string) (time.Duration, error)
}

// Verbs of a provisioning benchmark, in the place of jobs.
const (
	verbCreate = "create"
	verbExpand = "expand"
	verbDelete = "delete"
)

// perSecond is the unit of all of them.
const perSecond = "volumes/s"

// ProvisionPlan is what to provision.
type ProvisionPlan struct {
	Makers []Maker
	// Rounds are those that count; WarmUp are run before them and dropped.
	Rounds, WarmUp int
	// Volumes are made in each round by each maker, so many at once.
	Volumes, Concurrency int
	// Existing volumes stand by the time that is measured; the first maker makes them.
	Existing int
	// Run tells one run from others: names begin with it.
	Run      string
	Baseline string
	Nodes    []host.Host
	Note     string
	Version  string
}

// Check refuses plans that say nothing that can be done.
func (p ProvisionPlan) Check() error {
	switch {
	case len(p.Makers) == 0:
		return errors.New("there is nothing that makes volumes")
	case p.Rounds < 1 || p.Rounds > maxRounds || p.WarmUp < 0 || p.WarmUp > maxRounds:
		return fmt.Errorf("rounds: %d after %d of warm-up: want 1 to %d after 0 to %d", p.Rounds, p.WarmUp, maxRounds, maxRounds)
	case p.Volumes < 1 || p.Volumes > 1000:
		return fmt.Errorf("volumes: %d: want 1 to 1000 a round", p.Volumes)
	case p.Concurrency < 1 || p.Concurrency > p.Volumes:
		return fmt.Errorf("concurrency: %d: want 1 to the number of volumes, %d", p.Concurrency, p.Volumes)
	case p.Existing < 0 || p.Existing > 10_000:
		return fmt.Errorf("existing: %d: want 0 to 10000", p.Existing)
	}
	known := slices.ContainsFunc(p.Makers, func(m Maker) bool { return m.Name() == p.Baseline })
	if p.Baseline != "" && !known {
		return fmt.Errorf("baseline %.80q: want the name of a target", p.Baseline)
	}
	return nil
}

// provisioning is one run of such a plan.
type provisioning struct {
	plan   ProvisionPlan
	hooks  Hooks
	looked []host.Host
	result Result
	faults map[string]string
	done   int
	took   time.Duration
	// filled are the volumes that stand by.
	filled []string
}

// Provision runs the plan. As with Execute the result is as far as it came, and
// what was made is removed whatever happens.
func Provision(ctx context.Context, plan ProvisionPlan, hooks Hooks) (Result, error) {
	if err := plan.Check(); err != nil {
		return Result{}, err
	}
	p := &provisioning{plan: plan, hooks: hooks, looked: append([]host.Host{{}}, plan.Nodes...), faults: map[string]string{}}
	p.begin()
	err := p.machine(ctx)
	if err == nil {
		err = p.fill(ctx)
	}
	if err == nil {
		err = p.rounds(ctx)
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if err != nil {
		p.result.Stopped = err.Error()
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	for _, name := range p.filled {
		if _, removeErr := p.plan.Makers[0].Remove(closing, name); removeErr != nil {
			p.left(removeErr)
		}
	}
	p.result.Ended = time.Now().UTC()
	return p.result, errors.Join(err, p.save())
}

func (p *provisioning) begin() {
	p.result = Result{
		Schema: Schema, Begun: time.Now().UTC(), Machine: Machine{Bricklayer: p.plan.Version},
		Plan: PlanInfo{
			Rounds: p.plan.Rounds, WarmUp: p.plan.WarmUp, Baseline: p.plan.Baseline,
			Caches: fmt.Sprintf("%d volumes a round, %d at once, beside %d that stand by", p.plan.Volumes, p.plan.Concurrency, p.plan.Existing),
			Note:   p.plan.Note,
		},
	}
	if p.plan.Baseline == "" {
		p.result.Plan.Baseline = p.plan.Makers[len(p.plan.Makers)-1].Name()
	}
	for _, verb := range []string{verbCreate, verbExpand, verbDelete} {
		p.result.Jobs = append(p.result.Jobs, JobInfo{Name: verb, Title: verb + " a volume", Unit: perSecond, Latency: "one volume"})
	}
	for _, m := range p.plan.Makers {
		p.result.Targets = append(p.result.Targets, TargetInfo{Name: m.Name(), Kind: m.Kind(), Facts: m.Facts()})
	}
}

func (p *provisioning) machine(ctx context.Context) error {
	var err error
	p.result.Machine, err = machine(ctx, p.plan.Version)
	return err
}

// fill makes the volumes that stand by.
func (p *provisioning) fill(ctx context.Context) error {
	for i := range p.plan.Existing {
		name := fmt.Sprintf("%s-by%d", p.plan.Run, i)
		p.filled = append(p.filled, name)
		if _, err := p.plan.Makers[0].Make(ctx, name); err != nil {
			return fmt.Errorf("make volume %d of %d that stand by: %w", i+1, p.plan.Existing, err)
		}
		if (i+1)%10 == 0 {
			p.say(fmt.Sprintf("%d of %d volumes stand by", i+1, p.plan.Existing))
		}
	}
	return nil
}

func (p *provisioning) rounds(ctx context.Context) error {
	for round := 1 - p.plan.WarmUp; round <= p.plan.Rounds; round++ {
		makers := p.plan.Makers
		if round%2 == 0 { // A B C, then C B A
			makers = slices.Clone(makers)
			slices.Reverse(makers)
		}
		for _, m := range makers {
			if p.faults[m.Name()] == "" {
				p.turn(ctx, m, round)
			}
			p.done++
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if err := p.save(); err != nil {
			return err
		}
	}
	return nil
}

// turn has one maker make, expand and delete its volumes. They are deleted
// whatever happens.
func (p *provisioning) turn(ctx context.Context, m Maker, round int) {
	begun := time.Now()
	var names []string
	for i := range p.plan.Volumes {
		names = append(names, fmt.Sprintf("%s-%s%d", p.plan.Run, m.Name(), i))
	}
	var figures []string
	ok := p.verb(ctx, m, verbCreate, round, names, &figures, func(ctx context.Context, v string) (time.Duration, bool, error) {
		took, err := m.Make(ctx, v)
		return took, true, err
	})
	if ok {
		p.verb(ctx, m, verbExpand, round, names, &figures, m.Expand)
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	removed := p.verb(closing, m, verbDelete, round, names, &figures, func(ctx context.Context, v string) (time.Duration, bool, error) {
		took, err := m.Remove(ctx, v)
		return took, true, err
	})
	if !removed {
		p.left(fmt.Errorf("volumes %s-%s0 and following: not all could be deleted", p.plan.Run, m.Name()))
	}
	p.took += time.Since(begun)
	if p.hooks.Progress != nil {
		total := len(p.plan.Makers) * (p.plan.Rounds + p.plan.WarmUp)
		left := p.took / time.Duration(p.done+1) * time.Duration(total-p.done-1)
		p.hooks.Progress(Progress{Text: fmt.Sprintf("%s, round %d: %s", m.Name(), round, strings.Join(figures, ", ")), Done: p.done + 1, Total: total, Left: left})
	}
}

// verb does one thing to all volumes of a turn, so many at once, and notes it.
func (p *provisioning) verb(ctx context.Context, m Maker, verb string, round int, names []string, figures *[]string,
	do func(context.Context, string) (time.Duration, bool, error),
) bool {
	before, lookErr := look(ctx, p.looked)
	run := Run{Job: verb, Target: m.Name(), Round: round, Begun: time.Now().UTC()}
	took, supported, err := atOnce(ctx, p.plan.Concurrency, names, do)
	after, afterErr := look(ctx, p.looked)
	if looked := errors.Join(lookErr, afterErr); looked != nil {
		run.Load.Unknown = looked.Error()
	} else {
		run.Load = loadOf(p.looked, before, after)
	}
	switch {
	case err != nil:
		run.Fault = err.Error()
		p.faults[m.Name()] = verb + ": " + run.Fault
		for i := range p.result.Targets {
			if p.result.Targets[i].Name == m.Name() {
				p.result.Targets[i].Fault = p.faults[m.Name()]
			}
		}
	case !supported:
		return true
	default:
		run.FIO.Write, run.Figure = rate(took, p.plan.Concurrency)
		*figures = append(*figures, fmt.Sprintf("%s %s s", verb, Short(1/run.Figure*float64(p.plan.Concurrency))))
	}
	if err == nil || ctx.Err() == nil {
		p.result.Runs = append(p.result.Runs, run)
	}
	return err == nil
}

// atOnce calls do for all names, so many at a time, and returns how long each took.
func atOnce(ctx context.Context, concurrency int, names []string, do func(context.Context, string) (time.Duration, bool, error)) (all []time.Duration, supported bool, err error) {
	type answer struct {
		took      time.Duration
		supported bool
		err       error
	}
	next, answers := make(chan string), make(chan answer)
	for range concurrency {
		go func() {
			for name := range next {
				took, ok, err := do(ctx, name)
				answers <- answer{took, ok, err}
			}
		}()
	}
	go func() {
		defer close(next)
		for _, name := range names {
			next <- name
		}
	}()
	supported = true
	var errs []error
	for range names {
		a := <-answers
		all, supported = append(all, a.took), supported && a.supported
		errs = append(errs, a.err)
	}
	return all, supported, errors.Join(errs...)
}

// rate turns times into what a result holds: so many a second, and their histogram.
func rate(took []time.Duration, concurrency int) (fio.Direction, float64) {
	var sum time.Duration
	var bins []fio.Bin
	for _, t := range took {
		t = max(t, 1)
		sum += t
		bins = append(bins, fio.Bin{NS: uint64(t), Count: 1})
	}
	n := float64(len(took))
	figure := float64(concurrency) * n / sum.Seconds()
	d := fio.Direction{Requests: uint64(len(took)), IOPS: figure}
	d.Latency = fio.Latency{
		Mean: float64(sum) / n, Min: float64(slices.Min(took)), Max: float64(slices.Max(took)), Histogram: fio.Merge(bins),
	}
	return d, figure
}

func (p *provisioning) left(err error) { p.result.Left = append(p.result.Left, err.Error()) }

func (p *provisioning) say(text string) {
	if p.hooks.Progress != nil {
		p.hooks.Progress(Progress{Text: text})
	}
}

func (p *provisioning) save() error {
	if p.hooks.Save == nil {
		return nil
	}
	return p.hooks.Save(p.result)
}
