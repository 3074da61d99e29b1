package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bricklayer.csi/bench"
)

// TestBenchRefuses: what says nothing that can be done ends before anything is made.
func TestBenchRefuses(t *testing.T) {
	dir := t.TempDir()
	class := filepath.Join(dir, "class.yaml")
	if err := os.WriteFile(class, []byte("kind: StorageClass\nparameters: {lvm: maybe}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pod := filepath.Join(dir, "pod.yaml")
	if err := os.WriteFile(pod, []byte("kind: Pod\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCommand(t)
	mounts := filepath.Join(dir, "mnt")
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no target":      {nil, "give at least one"},
		"no kind":        {[]string{"-t", "a=/x"}, "NAME=class:FILE"},
		"unknown kind":   {[]string{"-t", "a=nfs:/x"}, "NAME=class:FILE"},
		"bad name":       {[]string{"-t", "A=dir:/x"}, "want a name"},
		"relative":       {[]string{"-t", "a=dir:x"}, "absolute"},
		"no handle":      {[]string{"-t", "a=volume:x"}, "bl1.BACKEND.POOL.VOLUME"},
		"no file":        {[]string{"-t", "a=class:" + dir + "/none"}, "no such file"},
		"no class":       {[]string{"-t", "a=class:" + pod}, "want StorageClass"},
		"bad class":      {[]string{"-t", "a=class:" + class}, "lvm"},
		"no size":        {[]string{"-t", "a=class:" + class, "--size", "0"}, "--size"},
		"no kubeconfig":  {[]string{"-t", "a=storageclass:fast"}, "needs --kubeconfig"},
		"hand, no way":   {[]string{"-t", "a=dir:/x", "--baseline", "hand"}, "needs --node-exec"},
		"hand, no class": {[]string{"-t", "a=dir:/x", "--baseline", "hand", "--node-exec", "ssh {node}"}, "needs a target of a class"},
		"no node":        {[]string{"-t", "a=node:n9:/x", "--node-exec", "ssh {node}"}, "no node"},
		"exec, no node":  {[]string{"-t", "a=node:n1:/x", "--node-exec", "ssh"}, "names no node"},
		"node, no way":   {[]string{"-t", "a=node:n1:/x"}, "needs --node-exec"},
		"no such job":    {[]string{"-t", "a=dir:/x", "-j", "walk"}, "there is no job"},
		"no job files":   {[]string{"-t", "a=dir:/x", "--jobs", dir}, "0 files"},
		"no rounds":      {[]string{"-t", "a=dir:/x", "--rounds", "0"}, "rounds"},
		"twice":          {[]string{"-t", "a=dir:/x", "-t", "a=dir:/y"}, "given twice"},
		"baseline":       {[]string{"-t", "a=dir:/x", "--baseline", "b"}, "want the name of a target"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"bench", "io", "--out", filepath.Join(dir, "out"), "--mount-dir", mounts, "--client-log-dir", dir}, tc.args...)
			_, errs, code := c.run(args...)
			if code != exitUsage || !strings.Contains(errs, tc.want) {
				t.Errorf("exit code %d, and it said %q; want %d and %q", code, errs, exitUsage, tc.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "out")); err == nil {
		t.Error("something was written")
	}
}

func TestBenchResults(t *testing.T) {
	dir := t.TempDir()
	r := bench.Result{
		Schema: bench.Schema, Plan: bench.PlanInfo{Rounds: 6, Baseline: "hand"}, Jobs: []bench.JobInfo{{Name: "j", Title: "a job", Unit: "IOPS"}},
		Targets: []bench.TargetInfo{{Name: "plain"}, {Name: "hand"}},
	}
	for round := range 6 {
		r.Runs = append(r.Runs,
			bench.Run{Job: "j", Target: "plain", Round: round + 1, Figure: 50}, bench.Run{Job: "j", Target: "hand", Round: round + 1, Figure: 100})
	}
	result := filepath.Join(dir, "result.json")
	if err := r.Write(result); err != nil {
		t.Fatal(err)
	}
	c := newCommand(t)
	if out := c.must(t, "bench", "report", result); !strings.Contains(out, "slower") {
		t.Errorf("the report says\n%s", out)
	}
	for _, name := range []string{markdownFile, htmlFile} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() < 500 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	if out := c.must(t, "bench", "compare", result, result); !strings.Contains(out, "same") {
		t.Errorf("compared with itself:\n%s", out)
	}
	for rules, want := range map[string]int{
		`{job: j, target: plain, to: hand, atLeast: 0.98}`: exitFailed,
		`{job: j, target: plain, to: hand, atLeast: 0.4}`:  exitOK,
		`{job: j, target: plain}`:                          exitUsage,
	} {
		file := filepath.Join(dir, "thresholds.yaml")
		if err := os.WriteFile(file, []byte("rules: ["+rules+"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, errs, code := c.run("bench", "verify", result, file); code != want {
			t.Errorf("%s: exit code %d, want %d\n%s%s", rules, code, want, out, errs)
		}
	}
	if _, _, code := c.run("bench", "report", filepath.Join(dir, "none")); code != exitUsage {
		t.Errorf("no result: exit code %d", code)
	}
}

func TestBenchJobs(t *testing.T) {
	c := newCommand(t)
	if out := c.must(t, "bench", "jobs"); !strings.Contains(out, "4k-randwrite-fsync") {
		t.Errorf("%s", out)
	}
	dir := filepath.Join(t.TempDir(), "jobs")
	c.must(t, "bench", "jobs", "--write", dir)
	if out := c.must(t, "bench", "jobs", "--jobs", dir); !strings.Contains(out, "files-create") {
		t.Errorf("written and read again: %s", out)
	}
}
