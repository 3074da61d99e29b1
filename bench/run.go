package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"bricklayer.csi/bench/fio"
	"bricklayer.csi/bench/host"
)

const (
	// workDir is what a run makes in a target's directory, and removes.
	workDir = "bricklayer-bench"
	// closeWithin bounds how long it may take to remove what was made.
	closeWithin = 5 * time.Minute
	// giveUp is after how many failed runs a job on a target is not tried again.
	giveUp = 2
)

// opened is a target that is ready.
type opened struct {
	Target
	place Place
	// device is the file system's number when the target was opened: where it is
	// another one, the mount has gone and fio would fill what lies below it.
	device string
	fault  string
	failed map[string]int
}

func (o *opened) dir(parts ...string) string {
	return strings.Join(append([]string{o.place.Dir, workDir}, parts...), "/")
}

// runner is one run of a plan.
type runner struct {
	plan    Plan
	hooks   Hooks
	targets []*opened
	// looked are the hosts the counters of which are read: each once.
	looked []host.Host
	// before is what they said when the last run's writes had reached the disks; nil
	// where that is not known.
	before []counters
	result Result
	done   int
	took   time.Duration
}

// Execute runs the plan. The result is as far as it came even where there is an
// error: then it says in Stopped why it ended. What was made is removed again,
// whatever happens.
func Execute(ctx context.Context, plan Plan, hooks Hooks) (Result, error) {
	r := &runner{plan: plan, hooks: hooks}
	if err := plan.Check(); err != nil {
		return Result{}, err
	}
	r.begin()
	err := r.open(ctx)
	if err == nil {
		if err = command(ctx, plan.OnReady); err == nil {
			err = r.rounds(ctx)
		}
		err = errors.Join(err, command(context.WithoutCancel(ctx), plan.OnDone))
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if err != nil {
		r.result.Stopped = err.Error()
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	err = errors.Join(err, r.close(closing))
	r.result.Ended = time.Now().UTC()
	r.info()
	return r.result, errors.Join(err, r.save())
}

// command runs one of the user's, where there is one.
func command(ctx context.Context, script string) error {
	if script == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	if _, err := (host.Host{}).Run(ctx, script+"\n"); err != nil {
		return fmt.Errorf("run %q: %w", script, err)
	}
	return nil
}

func (r *runner) begin() {
	r.result = Result{
		Schema: Schema, Begun: time.Now().UTC(),
		Plan: PlanInfo{
			Rounds: r.plan.Rounds, WarmUp: r.plan.WarmUp, Seconds: r.plan.Duration.Seconds(),
			Caches: "warm: pages that earlier runs left in the caches of clients and bricks stay there", Note: r.plan.Note,
			Baseline: r.plan.Baseline,
		},
	}
	if r.plan.DropCaches {
		r.result.Plan.Caches = "dropped before each run, on this host and on all nodes that commands reach"
	}
	if r.plan.Baseline == "" {
		r.result.Plan.Baseline = r.plan.Targets[len(r.plan.Targets)-1].Name()
	}
	for _, j := range r.plan.Jobs {
		r.result.Jobs = append(r.result.Jobs, JobInfo{Name: j.Name, Title: j.Title, Unit: j.Unit, Latency: latencyOf(j), File: j.Text})
	}
	for _, t := range r.plan.Targets {
		r.targets = append(r.targets, &opened{Target: t, failed: map[string]int{}})
	}
}

// open makes all targets ready. One that cannot be does not hinder the others.
func (r *runner) open(ctx context.Context) error {
	if err := r.machine(ctx); err != nil {
		return err
	}
	for _, t := range r.targets {
		r.say("opening " + t.Name() + " (" + t.Kind() + ")")
		err := r.openOne(ctx, t)
		if ctx.Err() != nil {
			return ctx.Err() // which is no fault of the target's
		}
		if err != nil {
			t.fault = err.Error()
			r.say(t.Name() + " is given up: " + t.fault)
		}
	}
	if !slices.ContainsFunc(r.targets, func(t *opened) bool { return t.fault == "" }) {
		return errors.New("no target could be opened: " + r.targets[0].fault)
	}
	r.keepHosts()
	return nil
}

// keepHosts makes the list of hosts that have a part: the nodes, and where targets
// are. Each has one shell from now on.
func (r *runner) keepHosts() {
	r.looked = []host.Host{{}}
	keep := func(h host.Host) host.Host {
		i := slices.IndexFunc(r.looked, func(k host.Host) bool { return k.Name == h.Name })
		if i < 0 {
			i, r.looked = len(r.looked), append(r.looked, h.Keep())
		}
		return r.looked[i]
	}
	for _, h := range r.plan.Nodes {
		keep(h)
	}
	for _, t := range r.targets {
		t.place.Host = keep(t.place.Host)
	}
}

// machine notes where this runs.
func (r *runner) machine(ctx context.Context) error {
	var err error
	r.result.Machine, err = machine(ctx, r.plan.Version)
	return err
}

func machine(ctx context.Context, version string) (Machine, error) {
	out, err := host.Host{}.Run(ctx, "uname -r; getconf _NPROCESSORS_ONLN; sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo; glusterfs --version 2>/dev/null | head -n 1; true\n")
	if err != nil {
		return Machine{}, fmt.Errorf("look at this machine: %w", err)
	}
	lines := append(strings.Split(strings.TrimSpace(string(out)), "\n"), "", "", "", "")
	m := Machine{Kernel: lines[0], Gluster: lines[3], Bricklayer: version}
	cpus, cpuErr := strconv.Atoi(lines[1])
	kib, memErr := strconv.ParseInt(lines[2], 10, 64)
	m.CPUs, m.MemoryBytes = cpus, kib<<10
	return m, errors.Join(cpuErr, memErr)
}

func (r *runner) openOne(ctx context.Context, t *opened) error {
	var err error
	if t.place, err = t.Open(ctx); err != nil {
		return err
	}
	if r.result.Machine.FIO, err = fio.Version(ctx, t.place.Host); err != nil {
		return err
	}
	out, err := t.place.Host.Run(ctx, "exec stat -c %d "+host.Quote(t.place.Dir)+"\n")
	if err != nil {
		return err
	}
	t.device = strings.TrimSpace(string(out))
	work := host.Quote(t.dir())
	if _, err := t.place.Host.Run(ctx, "mkdir "+work+" && exec mkdir "+work+"/data\n"); err != nil {
		if ctx.Err() == nil {
			t.device = "" // not ours to remove
		}
		return fmt.Errorf("make %s (remove it first if another run was killed there): %w", t.dir(), err)
	}
	laid := map[string]bool{}
	for _, j := range r.plan.Jobs {
		key := j.LayoutKey()
		if j.Fresh || laid[key] {
			continue
		}
		laid[key] = true
		r.say("writing the files of " + j.Name + " on " + t.Name())
		if err := fio.LayOut(ctx, t.place.Host, t.dir("data"), j); err != nil {
			return err
		}
	}
	return nil
}

// rounds runs all jobs on all targets, round by round.
func (r *runner) rounds(ctx context.Context) error {
	for round := 1 - r.plan.WarmUp; round <= r.plan.Rounds; round++ {
		for _, j := range r.plan.Jobs {
			for _, t := range inTurn(r.targets, round) {
				if err := r.once(ctx, t, j, round); err != nil {
					return err
				}
			}
		}
		if err := r.save(); err != nil {
			return err
		}
	}
	return nil
}

// inTurn returns the targets as A B C, and in the next round as C B A: what the
// machine drifts by, and what one leaves undone for the next, then falls on all
// alike.
func inTurn(targets []*opened, round int) []*opened {
	if round%2 == 0 {
		targets = slices.Clone(targets)
		slices.Reverse(targets)
	}
	return targets
}

// once does one run. Only the end of the context ends the others.
func (r *runner) once(ctx context.Context, t *opened, j fio.Job, round int) error {
	begun := time.Now()
	defer func() { r.done++ }()
	if t.fault != "" || t.failed[j.Name] >= giveUp {
		return nil
	}
	run := Run{Job: j.Name, Target: t.Name(), Round: round, Begun: begun.UTC()}
	err := r.measure(ctx, t, j, &run)
	if ctx.Err() != nil {
		return ctx.Err() // a run cut short says nothing
	}
	text := fmt.Sprintf("%s on %s, round %d of %d: ", j.Name, t.Name(), round, r.plan.Rounds)
	if round < 1 {
		text = fmt.Sprintf("%s on %s, warm-up: ", j.Name, t.Name())
	}
	if err != nil {
		run.Fault = err.Error()
		t.failed[j.Name]++
		text += run.Fault
	} else {
		text += Short(run.Figure) + " " + j.Unit
	}
	r.result.Runs = append(r.result.Runs, run)
	r.took += time.Since(begun)
	r.tell(text)
	return nil
}

func (r *runner) measure(ctx context.Context, t *opened, j fio.Job, run *Run) error {
	dir := t.dir("data")
	if j.Fresh {
		// Those of earlier rounds stay until the end: blocks that were freed would be
		// written a second time, which is no first write.
		dir = t.dir(fmt.Sprintf("%s-%d", j.Name, run.Round))
	}
	if err := r.prepare(ctx, t, dir); err != nil {
		return err
	}
	before, lookErr := r.before, error(nil)
	if r.before = nil; before == nil {
		before, lookErr = look(ctx, r.looked)
	}
	out, err := fio.Run(ctx, t.place.Host, dir, j, fio.Options{Duration: r.plan.Duration, Seed: uint64(run.Round + r.plan.WarmUp + 1)})
	if err != nil {
		return err
	}
	after, afterErr := look(ctx, r.looked)
	if err := errors.Join(lookErr, afterErr); err != nil {
		run.Load.Unknown = err.Error()
	} else {
		run.Load = loadOf(r.looked, before, after)
	}
	run.FIO = out
	if run.Figure, err = figure(j, out); err != nil {
		return err
	}
	return r.settle(ctx, t, j, dir)
}

// settle has what a run wrote reach the disks, so that the next one does not wait
// for it: buffered writes of a second can keep a slow disk busy for ten.
func (r *runner) settle(ctx context.Context, t *opened, j fio.Job, dir string) error {
	if j.Writes() { // an fsync of each of many small files would take longer than the run
		if _, err := t.place.Host.Run(ctx, "exec find "+host.Quote(dir)+" -type f -name "+host.Quote(j.Pattern())+" -exec sync {} +\n"); err != nil {
			return fmt.Errorf("settle %s: %w", dir, err)
		}
	}
	var err error
	r.before, err = lookAfter(ctx, "sync || exit 1\n", r.looked)
	if err != nil {
		r.before = nil
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// prepare sees that the target is still what it was, and drops caches.
func (r *runner) prepare(ctx context.Context, t *opened, dir string) error {
	// Not even a directory is made on another file system.
	out, err := t.place.Host.Run(ctx, fmt.Sprintf("at=$(stat -c %%d %s) || exit 1\necho \"$at\"\n[ \"$at\" = %s ] || exit 0\nexec mkdir -p %s\n",
		host.Quote(t.place.Dir), host.Quote(t.device), host.Quote(dir)))
	if device := strings.TrimSpace(string(out)); device != t.device {
		t.fault = fmt.Sprintf("%s is no longer the file system that it was: it was unmounted, or its client is gone", t.place.Dir)
		return errors.Join(errors.New(t.fault), err)
	}
	if err != nil || !r.plan.DropCaches {
		return err
	}
	for _, h := range r.looked {
		if _, err := h.Run(ctx, "sync; echo 3 >/proc/sys/vm/drop_caches\n"); err != nil {
			return fmt.Errorf("drop caches: %w", err)
		}
	}
	return nil
}

// close removes what was made, and notes what could not be.
func (r *runner) close(ctx context.Context) error {
	var errs []error
	for _, h := range r.looked {
		defer h.Close()
	}
	for _, t := range slices.Backward(r.targets) {
		r.say("removing what was made for " + t.Name())
		err := r.empty(ctx, t)
		if err = errors.Join(err, t.Close(ctx)); err != nil {
			err = fmt.Errorf("remove what was made for target %s: %w", t.Name(), err)
			r.result.Left = append(r.result.Left, err.Error())
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// empty removes the files of a target that was opened.
func (r *runner) empty(ctx context.Context, t *opened) error {
	if t.device == "" {
		return nil
	}
	// Only on the file system that it was made on.
	_, err := t.place.Host.Run(ctx, fmt.Sprintf("[ \"$(stat -c %%d %s)\" = %s ] || exit 0\nexec rm -rf %s\n",
		host.Quote(t.place.Dir), host.Quote(t.device), host.Quote(t.dir())))
	return err
}

// info notes what became of the targets.
func (r *runner) info() {
	r.result.Targets = nil
	for _, t := range r.targets {
		r.result.Targets = append(r.result.Targets, TargetInfo{t.Name(), t.Kind(), maps.Clone(t.place.Facts), t.fault})
	}
}

func (r *runner) save() error {
	r.info()
	if r.hooks.Save == nil {
		return nil
	}
	return r.hooks.Save(r.result)
}

func (r *runner) say(text string) {
	if r.hooks.Progress != nil {
		r.hooks.Progress(Progress{Text: text})
	}
}

func (r *runner) tell(text string) {
	if r.hooks.Progress == nil {
		return
	}
	total, done := r.plan.runs(), r.done+1
	left := r.took / time.Duration(len(r.result.Runs)) * time.Duration(total-done)
	r.hooks.Progress(Progress{Text: text, Done: done, Total: total, Left: left})
}
