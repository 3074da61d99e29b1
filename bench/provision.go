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
	"bricklayer.csi/internal/mount"
)

// Maker makes, expands and deletes volumes: what provisioning is compared between.
// Its methods are called at once for different volumes.
type Maker interface {
	Name() string
	Kind() string
	Facts() map[string]string
	// Make returns how long it took, by the clock that is nearest to the work.
	Make(ctx context.Context, volume string) (Took, error)
	// Source is where clients mount the volume from.
	Source(ctx context.Context, volume string) (mount.Source, error)
	// Expand doubles the volume, and Supported is false where there is nothing to do.
	Expand(ctx context.Context, volume string) (took Took, supported bool, err error)
	// Remove removes the volume, or what there is of it.
	Remove(ctx context.Context, volume string) (Took, error)
}

// Verbs of a provisioning benchmark, in the place of jobs.
const (
	verbCreate  = "create"
	verbPublish = "publish"
	verbExpand  = "expand"
	verbDelete  = "delete"
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
	// Existing is how many volumes stand by while it is measured, one number a
	// series: ParseExisting. The first maker makes them.
	Existing []int
	// Mounts is how volumes are mounted on this host: then that is measured too, as
	// publish. Without a directory they are not mounted.
	Mounts Mounts
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
	case !ascends(p.Existing):
		return fmt.Errorf("existing: %v: want one number or more from 0 to %d, each above the one before", p.Existing, maxExisting)
	}
	known := slices.ContainsFunc(p.Makers, func(m Maker) bool { return m.Name() == p.Baseline })
	if p.Baseline != "" && !known {
		return fmt.Errorf("baseline %.80q: want the name of a target", p.Baseline)
	}
	return nil
}

// verbs are what is measured, in this order.
func (p ProvisionPlan) verbs() []string {
	if p.Mounts.Dir == "" {
		return []string{verbCreate, verbExpand, verbDelete}
	}
	return []string{verbCreate, verbPublish, verbExpand, verbDelete}
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
		err = p.series(ctx)
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if err != nil {
		p.result.Stopped = err.Error()
	}
	p.empty(context.WithoutCancel(ctx))
	p.result.Ended = time.Now().UTC()
	return p.result, errors.Join(err, p.save())
}

func (p *provisioning) begin() {
	standBy := strings.ReplaceAll(strings.Trim(fmt.Sprint(p.plan.Existing), "[]"), " ", ", then ")
	p.result = Result{
		Schema: Schema, Begun: time.Now().UTC(), Machine: Machine{Bricklayer: p.plan.Version},
		Plan: PlanInfo{
			Rounds: p.plan.Rounds, WarmUp: p.plan.WarmUp, Baseline: p.plan.Baseline,
			Caches: fmt.Sprintf("%d volumes a round, %d at once, beside %s that stand by", p.plan.Volumes, p.plan.Concurrency, standBy),
			Note:   p.plan.Note,
		},
	}
	if p.plan.Baseline == "" {
		p.result.Plan.Baseline = p.plan.Makers[len(p.plan.Makers)-1].Name()
	}
	for _, existing := range p.plan.Existing {
		for _, verb := range p.plan.verbs() {
			title := verb + " a volume"
			if len(p.plan.Existing) > 1 {
				title += fmt.Sprintf(" beside %d", existing)
			}
			p.result.Jobs = append(p.result.Jobs, JobInfo{Name: p.plan.jobName(verb, existing), Title: title, Unit: perSecond, Latency: "one volume", Verb: verb})
		}
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

// series runs the rounds beside more and more volumes.
func (p *provisioning) series(ctx context.Context) error {
	for _, existing := range p.plan.Existing {
		if err := p.fill(ctx, existing); err != nil {
			return err
		}
		if err := p.rounds(ctx); err != nil {
			return err
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

// turn has one maker make, publish, expand and delete its volumes. They are deleted
// whatever happens.
func (p *provisioning) turn(ctx context.Context, m Maker, round int) {
	begun := time.Now()
	var names []string
	for i := range p.plan.Volumes {
		names = append(names, fmt.Sprintf("%s-%s%d", p.plan.Run, m.Name(), i))
	}
	var figures []string
	ok := p.verb(ctx, m, verbCreate, round, names, &figures, func(ctx context.Context, v string) (Took, bool, error) {
		took, err := m.Make(ctx, v)
		return took, true, err
	})
	if ok && p.plan.Mounts.Dir != "" {
		ok = p.verb(ctx, m, verbPublish, round, names, &figures, p.publish(m))
	}
	if ok {
		p.verb(ctx, m, verbExpand, round, names, &figures, m.Expand)
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	removed := p.verb(closing, m, verbDelete, round, names, &figures, func(ctx context.Context, v string) (Took, bool, error) {
		took, err := m.Remove(ctx, v)
		return took, true, err
	})
	if !removed {
		p.left(fmt.Errorf("volumes %s-%s0 and following: not all could be deleted", p.plan.Run, m.Name()))
	}
	p.took += time.Since(begun)
	if p.hooks.Progress != nil {
		total := len(p.plan.Makers) * (p.plan.Rounds + p.plan.WarmUp) * len(p.plan.Existing)
		left := p.took / time.Duration(p.done+1) * time.Duration(total-p.done-1)
		p.hooks.Progress(Progress{Text: fmt.Sprintf("%s beside %d, round %d: %s", m.Name(), len(p.filled), round, strings.Join(figures, ", ")), Done: p.done + 1, Total: total, Left: left})
	}
}

// publish mounts a volume on this host, as the node service does when a pod comes.
// To unmount it does not count.
func (p *provisioning) publish(m Maker) func(context.Context, string) (Took, bool, error) {
	return func(ctx context.Context, name string) (Took, bool, error) {
		src, err := m.Source(ctx, name)
		if err != nil {
			return Took{}, true, err
		}
		took, err := watched(ctx, func(ctx context.Context) error {
			_, err := p.plan.Mounts.Mount(ctx, name, src)
			return err
		})
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
		defer cancel()
		return took, true, errors.Join(err, p.plan.Mounts.Unmount(closing, name))
	}
}

// verb does one thing to all volumes of a turn, so many at once, and notes it.
func (p *provisioning) verb(ctx context.Context, m Maker, verb string, round int, names []string, figures *[]string,
	do func(context.Context, string) (Took, bool, error),
) bool {
	before, lookErr := look(ctx, p.looked)
	existing := len(p.filled)
	run := Run{Job: p.plan.jobName(verb, existing), Target: m.Name(), Round: round, Begun: time.Now().UTC(), Existing: existing}
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
		run.Steps = meanSteps(took)
		*figures = append(*figures, fmt.Sprintf("%s %s s", verb, Short(1/run.Figure*float64(p.plan.Concurrency))))
	}
	if err == nil || ctx.Err() == nil {
		p.result.Runs = append(p.result.Runs, run)
	}
	return err == nil
}

// atOnce calls do for all names, so many at a time, and returns how long each took.
func atOnce(ctx context.Context, concurrency int, names []string, do func(context.Context, string) (Took, bool, error)) (all []Took, supported bool, err error) {
	type answer struct {
		took      Took
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
func rate(took []Took, concurrency int) (fio.Direction, float64) {
	var sum time.Duration
	var bins []fio.Bin
	wholes := make([]time.Duration, 0, len(took))
	for _, t := range took {
		whole := max(t.Whole, 1)
		sum += whole
		wholes = append(wholes, whole)
		bins = append(bins, fio.Bin{NS: uint64(whole), Count: 1})
	}
	n := float64(len(took))
	figure := float64(concurrency) * n / sum.Seconds()
	d := fio.Direction{Requests: uint64(len(took)), IOPS: figure}
	d.Latency = fio.Latency{
		Mean: float64(sum) / n, Min: float64(slices.Min(wholes)), Max: float64(slices.Max(wholes)), Histogram: fio.Merge(bins),
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
