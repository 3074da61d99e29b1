package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/bench"
)

func plainClass(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "plain.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nparameters: {lvm: \"false\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// provisionOnFakes runs bench provision on a fake cluster and returns its result.
func provisionOnFakes(t *testing.T, c *command, args ...string) bench.Result {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	c.must(t, append([]string{"bench", "provision", "--out", out, "-t", "plain=class:" + plainClass(t), "--warm-up", "0"}, args...)...)
	r, err := bench.Read(filepath.Join(out, resultFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Faults()) > 0 {
		t.Errorf("faults: %v", r.Faults())
	}
	c.cluster.CheckEmpty(t)
	return r
}

// Every verb of a plain class tells its steps, and they add up to the whole.
func TestBenchProvisionTellsSteps(t *testing.T) {
	c := newCommand(t)
	r := provisionOnFakes(t, c, "--rounds", "1", "--volumes", "2", "--existing", "0,1")
	if len(r.Runs) != 2*3 {
		t.Fatalf("%d runs, want create, expand and delete in two series", len(r.Runs))
	}
	want := map[string][]bench.Step{
		"create": {bench.StepLook, bench.StepBricks, bench.StepCreate, bench.StepSet, bench.StepStart, bench.StepStatus},
		"expand": {bench.StepLook, bench.StepBricks, bench.StepSet},
		"delete": {bench.StepLook, bench.StepBricks, bench.StepStop, bench.StepDelete},
	}
	for _, run := range r.Runs {
		verb, _, _ := strings.Cut(run.Job, "-")
		for _, step := range want[verb] {
			if run.Steps[step] <= 0 {
				t.Errorf("%s: no %s in %v", run.Job, step, run.Steps)
			}
		}
		all := 0.0
		for _, seconds := range run.Steps {
			all += seconds
		}
		if whole := run.FIO.Write.Latency.Mean / 1e9; all < 0.999*whole || all > 1.001*whole {
			t.Errorf("%s: the steps add up to %v s of %v s", run.Job, all, whole)
		}
	}
}

// One that waits for another's turn says so: the pool takes one at a time, and the
// second waits as long as the first creates its volume.
func TestBenchProvisionTellsTurns(t *testing.T) {
	c := newCommand(t)
	pool, err := os.ReadFile(c.env["BRICKLAYER_POOLS"])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.env["BRICKLAYER_POOLS"], append(pool, "  maxOperations: 1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	c.cluster.Fail(agenttest.Delay(agenttest.Call{Verb: agenttest.CreateVolume, Moment: agenttest.Before}, 200*time.Millisecond))
	r := provisionOnFakes(t, c, "--rounds", "1", "--volumes", "2", "--concurrency", "2")
	steps := r.Runs[0].Steps
	if steps[bench.StepCreate] < 0.2 {
		t.Errorf("a creation that is held up for 0.2 s takes %v s", steps[bench.StepCreate])
	}
	if 4*steps[bench.StepTurn] < steps[bench.StepCreate] { // half of it, as one of two waits for the other
		t.Errorf("the wait for a turn is too short: %v", steps)
	}
}

func TestBenchProvisionRefuses(t *testing.T) {
	c := newCommand(t)
	out := filepath.Join(t.TempDir(), "out")
	_, errs, code := c.run("bench", "provision", "-t", "plain=class:"+plainClass(t), "--out", out, "--existing", "100,10")
	if code != exitUsage || !strings.Contains(errs, `--existing: "100,10" is not allowed; allowed: numbers from 0 to 10000`) {
		t.Errorf("exit code %d, %q", code, errs)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("something was written")
	}
}
