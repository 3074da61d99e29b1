//go:build lab

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bricklayer.csi/bench"
	"bricklayer.csi/bench/stats"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/lab"
)

// labExec builds the command that runs a shell on a node of the lab, once.
var labExec = sync.OnceValues(func() (string, error) {
	file := filepath.Join(os.TempDir(), "bricklayer-bench-lab")
	out, err := exec.CommandContext(context.Background(), "go", "build", "-o", file, "bricklayer.csi/cmd/lab").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the lab's command: %w\n%s", err, out)
	}
	return file + " exec --name " + lab.Current().Name() + " {node} --", nil
})

// benchIO runs bench io in the lab and returns its result. Each line of progress
// goes to onLine, which may end the run.
func benchIO(t *testing.T, onLine func(line string, end func()), args ...string) (r bench.Result, out, errs string, code int) {
	t.Helper()
	node, err := labExec()
	if err != nil {
		t.Fatal(err)
	}
	out = filepath.Join(t.TempDir(), "out")
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	progress := &lines{to: func(line string) { onLine(line, cancel) }}
	env := labEnv()
	code = run(ctx, environment{
		in: strings.NewReader(""), out: io.Discard, err: progress,
		getenv: func(name string) string { return env[name] },
		dial:   (*poolsOptions).dial,
	}, append([]string{
		"bench", "io", "--out", out, "--node-exec", node, "--mount-dir", lab.Current().MountDir(), "--client-log-dir", t.TempDir(), "--size", "512MiB",
	}, args...))
	if r, err = bench.Read(filepath.Join(out, resultFile)); err != nil {
		t.Fatalf("exit code %d: %v\n%s", code, err, progress.all.String())
	}
	return r, out, progress.all.String(), code
}

// lines hands on what is written, line by line.
type lines struct {
	to  func(line string)
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.all.Write(p)
	for line := range strings.Lines(string(p)) {
		l.to(line)
	}
	return len(p), nil
}

// wantNothingOfBench sees that no volume and no mount of a benchmark is left.
func wantNothingOfBench(t *testing.T) {
	t.Helper()
	out, err := lab.Current().Exec(t.Context(), "n1", "sh", "-c", "gluster --mode=script volume list 2>&1; ls /bricks/root1")
	if err != nil || strings.Contains(string(out), "bench") {
		t.Errorf("left on n1 (%v):\n%s", err, out)
	}
	if mounts, err := os.ReadFile("/proc/mounts"); err != nil || strings.Contains(string(mounts), lab.Current().MountDir()) {
		t.Errorf("a mount is left: %v", err)
	}
}

// TestBenchOnRealNodes compares a plain volume with one made by hand.
func TestBenchOnRealNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute and more; make test-lab-long runs it")
	}
	labtest.CheckEmpty(t)
	r, _, errs, code := benchIO(t, func(string, func()) {}, "-t", "plain=class:"+plainClass(t), "--baseline", "hand",
		"--rounds", "1", "--duration", "300ms", "-j", "4k-randread")
	if code != exitOK || len(r.Faults()) > 0 || len(r.Runs) != 2*2 {
		t.Fatalf("exit code %d, %d runs, faults %v\n%s", code, len(r.Runs), r.Faults(), errs)
	}
	for _, target := range r.Targets {
		if n := strings.Count(target.Facts["bricks"], "/bricks/root1/"); n != 3 {
			t.Errorf("%s has %d bricks on the roots, want 3: %v", target.Name, n, target.Facts)
		}
	}
	for _, run := range r.Runs {
		if run.Load.Unknown != "" || run.Load.CPU == 0 {
			t.Errorf("load %+v: want the nodes' counters", run.Load)
		}
	}
	wantNothingOfBench(t)
}

// TestBenchInterrupted ends a run in its middle.
func TestBenchInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute; package bench tests the same without real nodes")
	}
	labtest.CheckEmpty(t)
	r, out, errs, code := benchIO(t, func(line string, end func()) {
		if strings.Contains(line, "round 2 of") {
			end()
		}
	}, "-t", "plain=class:"+plainClass(t), "--baseline", "hand", "--rounds", "9", "--duration", "200ms", "-j", "4k-randread")
	if code != exitInterrupted || len(r.Runs) < 4 || !strings.Contains(r.Stopped, "interrupted") {
		t.Errorf("exit code %d, %d runs, stopped %q\n%s", code, len(r.Runs), r.Stopped, errs)
	}
	if page, err := os.ReadFile(filepath.Join(out, htmlFile)); err != nil || !strings.Contains(string(page), "ended early") {
		t.Errorf("the report: %v", err)
	}
	wantNothingOfBench(t)
}

// TestBenchTargetUnmounted takes one target's mount away: the other goes on, and
// nothing is written to the directory below.
func TestBenchTargetUnmounted(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute; package bench tests the same without real nodes")
	}
	labtest.CheckEmpty(t)
	unmounted := false
	r, _, errs, _ := benchIO(t, func(line string, _ func()) {
		if !unmounted && strings.Contains(line, "round 1 of") && strings.Contains(line, "on b") {
			unmounted = true
			mounts, _ := filepath.Glob(filepath.Join(lab.Current().MountDir(), "bench-*-a"))
			for _, m := range mounts {
				if out, err := exec.CommandContext(t.Context(), "umount", "-l", m).CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			}
		}
	}, "-t", "a=class:"+plainClass(t), "-t", "b=class:"+plainClass(t), "--rounds", "5", "--duration", "200ms", "-j", "4k-randread")
	if a, _ := r.Target("a"); !strings.Contains(a.Fault, "unmounted") {
		t.Errorf("a: fault %q\n%s", a.Fault, errs)
	}
	rounds := map[int]bool{}
	for _, run := range r.Runs {
		if run.Target == "b" && run.Round > 0 && run.Fault == "" {
			rounds[run.Round] = true
		}
	}
	if len(rounds) != 5 {
		t.Errorf("b has %d rounds, want 5\n%s", len(rounds), errs)
	}
	wantNothingOfBench(t)
}

// TestBenchPlantedSlowdown measures two directories of this machine with the real
// fio: the same twice is not called different, and one that is held back is found.
func TestBenchPlantedSlowdown(t *testing.T) {
	if testing.Short() {
		t.Skip("one run in twenty calls equals different, as intervals of 95 % do; bench/stats has the same on made-up figures")
	}
	fio, err := exec.LookPath("fio")
	if err != nil {
		t.Fatal("fio is missing: run apt-get install fio")
	}
	bin := t.TempDir()
	// A node whose disk takes 150 requests a second.
	script := "#!/bin/sh\n[ \"$1\" = --version ] && exec " + fio + " \"$@\"\nexec " + fio + " --rate_iops=150 \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "fio"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(bin, "node")
	if err := os.WriteFile(node, []byte("#!/bin/sh\n[ \"$1\" = n1 ] && PATH="+bin+":$PATH\nshift\nexec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir := func(name string) string { return name + t.TempDir() }
	out := filepath.Join(t.TempDir(), "out")
	_, errs, code := labRun(t, labEnv(), "bench", "io", "--out", out, "--node-exec", node+" {node}", "--client-log-dir", t.TempDir(),
		"--mount-dir", t.TempDir(), "-t", dir("slow=node:n1:"), "-t", dir("same=node:n2:"), "-t", dir("like=node:n3:"),
		"--rounds", "7", "--duration", "300ms", "-j", "4k-randread")
	r, err := bench.Read(filepath.Join(out, resultFile))
	if code != exitOK || err != nil {
		t.Fatalf("exit code %d, %v\n%s", code, err, errs)
	}
	if ratio, ok := r.Ratio("4k-randread", "slow", "like"); !ok || ratio.Verdict != stats.Lower {
		t.Errorf("the slow one: %+v, want it found", ratio)
	}
	if ratio, ok := r.Ratio("4k-randread", "same", "like"); !ok || ratio.Verdict == stats.Lower || ratio.Verdict == stats.Higher {
		t.Errorf("the same: %+v, want no difference", ratio)
	}
}

// TestBenchProvisionOnRealNodes: a volume on real nodes tells where its time goes.
func TestBenchProvisionOnRealNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute; package bench tests the same without real nodes")
	}
	labtest.CheckEmpty(t)
	out := filepath.Join(t.TempDir(), "out")
	_, errs, code := labRun(t, labEnv(), "bench", "provision", "--out", out, "-t", "plain=class:"+plainClass(t), "--size", "64MiB",
		"--rounds", "1", "--warm-up", "0", "--volumes", "1", "--mount-dir", lab.Current().MountDir(), "--client-log-dir", t.TempDir())
	r, err := bench.Read(filepath.Join(out, resultFile))
	if code != exitOK || err != nil || len(r.Faults()) > 0 || len(r.Runs) != 4 {
		t.Fatalf("exit code %d, %v, %d runs, faults %v\n%s", code, err, len(r.Runs), r.Faults(), errs)
	}
	for i, steps := range [][]bench.Step{
		{bench.StepLook, bench.StepBricks, bench.StepCreate, bench.StepSet, bench.StepStart, bench.StepStatus},
		nil, // publish: a node's work has no steps
		{bench.StepLook, bench.StepBricks, bench.StepSet},
		{bench.StepLook, bench.StepBricks, bench.StepStop, bench.StepDelete},
	} {
		t.Logf("%s: %v", r.Runs[i].Job, r.Runs[i].Steps)
		for _, step := range steps {
			if r.Runs[i].Steps[step] <= 0 {
				t.Errorf("%s: no %s in %v", r.Runs[i].Job, step, r.Runs[i].Steps)
			}
		}
	}
	wantNothingOfBench(t)
}
