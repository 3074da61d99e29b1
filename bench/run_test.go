package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/bench/fio"
	"bricklayer.csi/bench/host"
	"bricklayer.csi/bench/stats"
)

// fakeFIO answers as fio does; what it measured is in the file "speed" of the
// target's directory, with some noise of each run's own.
const fakeFIO = `#!/bin/sh
case "$*" in --version) echo fio-3.33; exit;; esac
for a; do case $a in --directory=*) dir=${a#--directory=};; --randseed=*) seed=${a#--randseed=};; esac; done
job=$(sed -n 's/^\[\(.*\)\]$/\1/p')
at=$dir; while [ ! -e "$at/speed" ]; do at=${at%/*}; [ -n "$at" ] || exit 9; done
. "$at/speed"
iops=$((speed + seed * 7 % 5))
printf '{"fio version":"fio-3.33","jobs":[{"jobname":"%s","error":%d,
"read":{"total_ios":9,"iops":%d,"bw_bytes":%d,"clat_ns":{"min":1,"max":9,"mean":4.5,"N":9,"bins":{"1":3,"5":6}}},
"write":{"total_ios":0,"iops":0,"bw_bytes":0,"clat_ns":{"min":0,"max":0,"mean":0,"N":0}},
"sync":{"total_ios":0,"lat_ns":{"min":0,"max":0,"mean":0,"N":0}}}]}\n' "$job" "${error:-0}" $iops $((iops * 4096))
`

// fake is a target with a directory of its own and our fio.
type fake struct {
	*Directory
	opened, closed int
	openErr        error
	// inDirectory says that Close goes on as long as its context.
	onOpen func()
}

func (f *fake) Open(ctx context.Context) (Place, error) {
	f.opened++
	if f.onOpen != nil {
		f.onOpen()
	}
	if f.openErr != nil {
		return Place{}, f.openErr
	}
	return f.Directory.Open(ctx)
}

func (f *fake) Close(ctx context.Context) error {
	f.closed++
	return errors.Join(ctx.Err(), f.Directory.Close(ctx))
}

func newFake(t *testing.T, name, speed string) *fake {
	t.Helper()
	bin, dir := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{bin + "/fio": fakeFIO, dir + "/speed": speed} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d, err := NewDirectory(name, host.Host{Name: name, Prefix: []string{"env", "PATH=" + bin + ":/usr/sbin:/usr/bin:/sbin:/bin"}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return &fake{Directory: d}
}

func testPlan(t *testing.T, targets ...*fake) Plan {
	t.Helper()
	jobs, err := fio.Embedded()
	if err == nil {
		jobs, err = fio.Select(jobs, []string{"4k-randread", "4k-firstwrite-fsync"})
	}
	if err != nil {
		t.Fatal(err)
	}
	p := Plan{Jobs: jobs, Rounds: 5, WarmUp: 1, Duration: time.Second}
	for _, f := range targets {
		p.Targets = append(p.Targets, f)
	}
	return p
}

// wantEmpty sees that nothing is left in a target's directory, and that it was closed.
func wantEmpty(t *testing.T, targets ...*fake) {
	t.Helper()
	for _, f := range targets {
		entries, err := os.ReadDir(f.Dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("%s: %v is left (%v), want its own file only", f.Called, entries, err)
		}
		if f.closed != 1 {
			t.Errorf("%s: closed %d times, want once", f.Called, f.closed)
		}
	}
}

func TestExecute(t *testing.T) {
	a, b, c := newFake(t, "a", "speed=1000"), newFake(t, "b", "speed=500"), newFake(t, "c", "speed=1000")
	plan := testPlan(t, a, b, c)
	ready := filepath.Join(t.TempDir(), "ready")
	plan.OnReady, plan.OnDone = "test -d "+a.Dir+"/"+workDir+" && echo ready >"+ready, "test -d "+a.Dir+"/"+workDir+" && echo done >>"+ready
	var saved []Result
	var order []string
	r, err := Execute(t.Context(), plan, Hooks{
		Save: func(r Result) error { saved = append(saved, r); return nil },
		Progress: func(p Progress) {
			if p.Total > 0 {
				order = append(order, strings.Fields(p.Text)[2][:1])
				if p.Total != 2*3*6 || p.Done > p.Total || p.Left < 0 {
					t.Errorf("%+v", p)
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, a, b, c)
	if said, err := os.ReadFile(ready); err != nil || string(said) != "ready\ndone\n" {
		t.Errorf("the commands said %q (%v), want ready and done", said, err)
	}
	if len(saved) != 7 { // each round, and the end
		t.Errorf("saved %d times, want 7", len(saved))
	}
	if got, want := strings.Join(order, ""), "cbacbaabcabccbacbaabcabccbacbaabcabc"; got != want {
		t.Errorf("targets took turns as %s, want %s", got, want)
	}
	for _, job := range []string{"4k-randread", "4k-firstwrite-fsync"} {
		if ratio, ok := r.Ratio(job, "b", "c"); !ok || ratio.Verdict != stats.Lower || ratio.Median > 0.6 {
			t.Errorf("%s: half the speed is %+v", job, ratio)
		}
		if ratio, ok := r.Ratio(job, "a", "c"); !ok || ratio.Verdict != stats.Same {
			t.Errorf("%s: the same speed is %+v", job, ratio)
		}
	}
	if r.Plan.Baseline != "c" || r.Machine.FIO != "fio-3.33" || r.Machine.CPUs < 1 || r.Runs[0].Load.CPU == 0 {
		t.Errorf("%+v, %+v, %+v", r.Plan, r.Machine, r.Runs[0].Load)
	}
	file := filepath.Join(t.TempDir(), "result.json")
	if err := r.Write(file); err != nil {
		t.Fatal(err)
	}
	again, err := Read(file)
	if err != nil || len(again.Runs) != len(r.Runs) || again.Runs[3].FIO.Read.Latency.Histogram == nil {
		t.Errorf("read back: %d runs (%v), want %d", len(again.Runs), err, len(r.Runs))
	}
}

// TestExecuteGoesOn: what fails on one target does not hinder the others.
func TestExecuteGoesOn(t *testing.T) {
	full, gone, good := newFake(t, "full", "speed=10 error=28"), newFake(t, "gone", "speed=10"), newFake(t, "good", "speed=10")
	gone.openErr = errors.New("no such volume")
	plan := testPlan(t, full, gone, good)
	plan.Jobs = plan.Jobs[1:] // a job that lays nothing out: the target opens
	r, err := Execute(t.Context(), plan, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, full, gone, good)
	faults := strings.Join(r.Faults(), "\n")
	for _, want := range []string{"gone: no such volume", "full, 4k-firstwrite-fsync", "the target is full"} {
		if !strings.Contains(faults, want) {
			t.Errorf("no %q in:\n%s", want, faults)
		}
	}
	if n := strings.Count(faults, "the target is full"); n != giveUp {
		t.Errorf("tried %d times, want %d", n, giveUp)
	}
	if n := len(r.values("4k-firstwrite-fsync", "good")); n != 5 {
		t.Errorf("%d rounds of the good target, want 5", n)
	}
	for _, row := range r.Judge() {
		for _, c := range row.Cells {
			if (c.Fault == "") != (c.Target == "good") {
				t.Errorf("%s: fault %q", c.Target, c.Fault)
			}
		}
	}
}

func TestExecuteNothingOpens(t *testing.T) {
	a := newFake(t, "a", "speed=1")
	a.openErr = errors.New("no way")
	r, err := Execute(t.Context(), testPlan(t, a), Hooks{})
	if err == nil || !strings.Contains(err.Error(), "no way") || r.Stopped == "" {
		t.Errorf("%v; stopped %q", err, r.Stopped)
	}
	wantEmpty(t, a)
}

// TestExecuteInterrupted ends the context in the middle: what was measured stays,
// and what was made goes.
func TestExecuteInterrupted(t *testing.T) {
	a, b := newFake(t, "a", "speed=10"), newFake(t, "b", "speed=10")
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Execute(ctx, testPlan(t, a, b), Hooks{Progress: func(p Progress) {
		if p.Done == 15 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || !strings.Contains(r.Stopped, "interrupted") {
		t.Errorf("%v; stopped %q", err, r.Stopped)
	}
	if n := len(r.Runs); n != 15 {
		t.Errorf("%d runs, want the 15 that were done", n)
	}
	wantEmpty(t, a, b)
}

// TestExecuteUnmounted: a target that is another file system than before is not
// written to any more.
func TestExecuteUnmounted(t *testing.T) {
	a, b := newFake(t, "a", "speed=10"), newFake(t, "b", "speed=10")
	// A stat of our own says what file system it is.
	for _, f := range []*fake{a, b} {
		script := "#!/bin/sh\ncat " + f.Dir + "/device 2>/dev/null || echo 1\n"
		if err := os.WriteFile(filepath.Join(strings.Split(strings.TrimPrefix(f.Host.Prefix[1], "PATH="), ":")[0], "stat"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Execute(t.Context(), testPlan(t, a, b), Hooks{Progress: func(p Progress) {
		if p.Done == 11 {
			if err := os.WriteFile(filepath.Join(a.Dir, "device"), []byte("2\n"), 0o600); err != nil {
				t.Error(err)
			}
			below := filepath.Join(a.Dir, workDir)
			if err := errors.Join(os.RemoveAll(below), os.Mkdir(below, 0o700), os.Mkdir(below+"/theirs", 0o700)); err != nil {
				t.Error(err)
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if ta, _ := r.Target("a"); !strings.Contains(ta.Fault, "unmounted") {
		t.Errorf("fault %q", ta.Fault)
	}
	if n := len(r.values("4k-randread", "b")); n != 5 {
		t.Errorf("%d rounds of b, want 5", n)
	}
	if n := len(r.values("4k-randread", "a")); n >= 5 {
		t.Errorf("%d rounds of a, want fewer", n)
	}
	entries, err := os.ReadDir(filepath.Join(a.Dir, workDir))
	if err != nil || len(entries) != 1 || entries[0].Name() != "theirs" {
		t.Errorf("on the other file system there is %v (%v), want it as it was", entries, err)
	}
	wantEmpty(t, b)
}

// TestExecuteLeavesOthersAlone: a directory that an earlier run left is not ours.
func TestExecuteLeavesOthersAlone(t *testing.T) {
	a := newFake(t, "a", "speed=10")
	theirs := filepath.Join(a.Dir, workDir, "theirs")
	if err := os.MkdirAll(theirs, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Execute(t.Context(), testPlan(t, a), Hooks{}); err == nil || !strings.Contains(err.Error(), "remove it first") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Error(err)
	}
}

func TestPlanCheck(t *testing.T) {
	a := newFake(t, "a", "speed=1")
	for want, change := range map[string]func(*Plan){
		"no job":      func(p *Plan) { p.Jobs = nil },
		"rounds: 0":   func(p *Plan) { p.Rounds = 0 },
		"warm-up":     func(p *Plan) { p.WarmUp = -1 },
		"duration":    func(p *Plan) { p.Duration = time.Microsecond },
		"0 targets":   func(p *Plan) { p.Targets = nil },
		"given twice": func(p *Plan) { p.Targets = append(p.Targets, p.Targets[0]) },
		"baseline":    func(p *Plan) { p.Baseline = "nobody" },
	} {
		p := testPlan(t, a)
		change(&p)
		if _, err := Execute(t.Context(), p, Hooks{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	if a.opened != 0 {
		t.Error("a plan that is refused opened a target")
	}
}

func TestNewDirectoryRefuses(t *testing.T) {
	for _, tc := range [][2]string{{"A", "/x"}, {"", "/x"}, {"a", "x"}, {"a", "/x/../y"}, {"a", "/x\ny"}, {"a", ""}} {
		if _, err := NewDirectory(tc[0], host.Host{}, tc[1]); err == nil {
			t.Errorf("%q: no error", tc)
		}
	}
}

func ExampleShort() {
	fmt.Println(Short(1234.5), Short(12.34), Short(0.123))
	// Output: 1234 12.3 0.12
}
