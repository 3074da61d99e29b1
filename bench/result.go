package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	kjson "sigs.k8s.io/json"

	"bricklayer.csi/bench/fio"
)

// Schema is the version of a result's form. Another form gets another version.
const Schema = "bricklayer.csi/bench/v2"

// schemaV1 is read still: it knew no steps and no numbers of volumes that stand by.
const schemaV1 = "bricklayer.csi/bench/v1"

// Result is what a run of the benchmarks measured, and on what.
type Result struct {
	Schema string    `json:"schema"`
	Begun  time.Time `json:"begun"`
	Ended  time.Time `json:"ended"`
	// Stopped says why it ended before its time; empty where it did not.
	Stopped string       `json:"stopped,omitempty"`
	Machine Machine      `json:"machine"`
	Plan    PlanInfo     `json:"plan"`
	Targets []TargetInfo `json:"targets"`
	Jobs    []JobInfo    `json:"jobs"`
	Runs    []Run        `json:"runs"`
	// Left is what could not be removed.
	Left []string `json:"left,omitempty"`
}

// Machine is where fio ran.
type Machine struct {
	Kernel      string `json:"kernel"`
	CPUs        int    `json:"cpus"`
	MemoryBytes int64  `json:"memoryBytes"`
	FIO         string `json:"fio"`
	Bricklayer  string `json:"bricklayer"`
	Gluster     string `json:"gluster,omitempty"`
}

// PlanInfo is how the runs were laid out.
type PlanInfo struct {
	Rounds  int     `json:"rounds"`
	WarmUp  int     `json:"warmUp"`
	Seconds float64 `json:"seconds"`
	// Caches says in words what was done about caches.
	Caches string `json:"caches"`
	// Note is the user's own, such as what disks were used.
	Note string `json:"note,omitempty"`
	// Baseline is the target that others are compared with.
	Baseline string `json:"baseline"`
}

// TargetInfo is one target.
type TargetInfo struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Facts say what it is: its parameters, bricks, mount, options.
	Facts map[string]string `json:"facts,omitempty"`
	// Fault is why it was given up; empty where it was not.
	Fault string `json:"fault,omitempty"`
}

// JobInfo is one job.
type JobInfo struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Unit  string `json:"unit"`
	// Latency says what the latencies are of.
	Latency string `json:"latency"`
	File    string `json:"file"`
	// Verb is what a provisioning benchmark does here. Jobs of one verb differ in
	// how many volumes stand by.
	Verb string `json:"verb,omitempty"`
}

// Run is one job on one target in one round.
type Run struct {
	Job    string `json:"job"`
	Target string `json:"target"`
	// Round counts from 1; those of a warm-up are 0 and below.
	Round int       `json:"round"`
	Begun time.Time `json:"begun"`
	// Figure is in the job's unit.
	Figure float64    `json:"figure"`
	FIO    fio.Output `json:"fio,omitzero"`
	Load   Load       `json:"load"`
	Fault  string     `json:"fault,omitempty"`
	// Existing is how many volumes stood by, of a provisioning benchmark.
	Existing int `json:"existing,omitempty"`
	// Steps is where a volume's time went, in seconds: the mean of the run's volumes.
	// They add up to the mean of the whole. None where nobody told of any.
	Steps map[Step]float64 `json:"steps,omitempty"`
}

// Target returns the target of that name.
func (r Result) Target(name string) (TargetInfo, bool) {
	i := slices.IndexFunc(r.Targets, func(t TargetInfo) bool { return t.Name == name })
	if i < 0 {
		return TargetInfo{}, false
	}
	return r.Targets[i], true
}

// Faults returns every fault, in words.
func (r Result) Faults() []string {
	var all []string
	for _, t := range r.Targets {
		if t.Fault != "" {
			all = append(all, t.Name+": "+t.Fault)
		}
	}
	for _, run := range r.Runs {
		if run.Fault != "" {
			all = append(all, fmt.Sprintf("%s, %s, round %d: %s", run.Target, run.Job, run.Round, run.Fault))
		}
	}
	return append(all, r.Left...)
}

// Write replaces a result's file, whole or not at all.
func (r Result) Write(path string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write result %s: %w", path, err)
	}
	if err := Replace(path, append(data, '\n')); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// Replace writes a file, whole or not at all.
func Replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".bench-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// maxResult is far beyond a result of a hundred rounds.
const maxResult = 512 << 20

// Read reads a result's file.
func Read(path string) (Result, error) {
	st, err := os.Stat(path)
	if err != nil {
		return Result{}, fmt.Errorf("read result: %w", err)
	}
	if st.Size() > maxResult {
		return Result{}, fmt.Errorf("read result %s: %d bytes: want at most %d", path, st.Size(), int64(maxResult))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Result{}, fmt.Errorf("read result: %w", err)
	}
	r, err := ParseResult(data)
	if err != nil {
		return Result{}, fmt.Errorf("result %s: %w", path, err)
	}
	return r, nil
}

// ParseResult reads a result.
func ParseResult(data []byte) (Result, error) {
	var r Result
	var head struct {
		Schema string `json:"schema"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &head); err != nil {
		return r, fmt.Errorf("it is no JSON: %w", err)
	}
	if head.Schema != Schema && head.Schema != schemaV1 {
		return r, fmt.Errorf("schema: %.80q: want %q or %q", head.Schema, Schema, schemaV1)
	}
	strict, err := kjson.UnmarshalStrict(data, &r)
	if err = errors.Join(append(strict, err)...); err != nil {
		return r, err
	}
	return r, r.check()
}

// check sees that runs are of jobs and targets that are there, and positive.
func (r Result) check() error {
	jobs, targets := map[string]bool{}, map[string]bool{}
	for i, j := range r.Jobs {
		if j.Name == "" || jobs[j.Name] {
			return fmt.Errorf("jobs[%d].name: %.80q: want a name that no other job has", i, j.Name)
		}
		jobs[j.Name] = true
	}
	for i, t := range r.Targets {
		if t.Name == "" || targets[t.Name] {
			return fmt.Errorf("targets[%d].name: %.80q: want a name that no other target has", i, t.Name)
		}
		targets[t.Name] = true
	}
	if r.Plan.Baseline != "" && !targets[r.Plan.Baseline] {
		return fmt.Errorf("plan.baseline: %.80q: want one of the targets", r.Plan.Baseline)
	}
	existing := map[string]int{}
	for i, run := range r.Runs {
		beside, seen := existing[run.Job]
		existing[run.Job] = run.Existing
		switch {
		case !jobs[run.Job]:
			return fmt.Errorf("runs[%d].job: %.80q: want one of the jobs", i, run.Job)
		case !targets[run.Target]:
			return fmt.Errorf("runs[%d].target: %.80q: want one of the targets", i, run.Target)
		case run.Figure < 0 || run.Fault == "" && run.Figure == 0:
			return fmt.Errorf("runs[%d].figure: %v: want more than 0", i, run.Figure)
		case run.Existing < 0 || seen && run.Existing != beside:
			return fmt.Errorf("runs[%d].existing: %d: want 0 or more, and the same in all runs of a job", i, run.Existing)
		}
		if err := checkSteps(run.Steps); err != nil {
			return fmt.Errorf("runs[%d].steps: %w", i, err)
		}
	}
	return nil
}

func checkSteps(steps map[Step]float64) error {
	known := Steps()
	for step, seconds := range steps {
		if !slices.Contains(known, step) || seconds < 0 {
			return fmt.Errorf("%.80q: %v: want seconds, 0 or more, of one of %q", step, seconds, known)
		}
	}
	return nil
}
