//go:build kube && lab

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/lab"
)

func kubeLab(t *testing.T) *lab.Lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := lab.Current().EnsureKubernetes(ctx); err != nil {
		t.Fatal(err)
	}
	return lab.Current()
}

// On a healthy lab with Kubernetes the doctor says nothing, from afar and on each worker.
func TestDoctorOnAHealthyCluster(t *testing.T) {
	l := kubeLab(t)
	// A worker that was booted this moment has no lease yet, and that is unknown.
	eventuallyQuiet(t, true, "--kubeconfig", l.Kubeconfig())
	for _, w := range l.Workers() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		out, _ := l.InWorker(ctx, w.Name, "sh", "-c", l.Program()+" doctor -o json; true")
		cancel()
		if said := parseDoctor(t, string(out)).said(); len(said) > 0 {
			t.Errorf("false alarms on %s:\n%s", w.Name, strings.Join(said, "\n"))
		}
	}
}

// A machine is looked at from afar by a pod: the same is said, for each node, and no pod is left.
func TestDoctorByPods(t *testing.T) {
	l := kubeLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const name = "bricklayer.lab/doctor:1"
	archive := filepath.Join(t.TempDir(), "image.tar")
	image := lab.Image{Names: []string{name}, Files: []lab.ImageFile{{Path: "/usr/local/bin/bricklayer", Source: l.Program(), Mode: 0o755}}}
	if err := lab.MakeImage(archive, image); err != nil {
		t.Fatal(err)
	}
	if err := l.LoadImage(ctx, archive); err != nil {
		t.Fatal(err)
	}
	d := labDoctor(t, "--kubeconfig", l.Kubeconfig(), "--image", name)
	if said := d.said(); len(said) > 0 {
		t.Errorf("false alarms:\n%s", strings.Join(said, "\n"))
	}
	for _, w := range l.Workers() {
		if !slices.ContainsFunc(d.Results, func(r doctor.Result) bool { return r.Target == w.Name && r.Check == "bridge-netfilter" }) {
			t.Errorf("nothing is said of %s", w.Name)
		}
	}
	out, err := l.Kubectl(ctx, "get", "pods", "-A", "-o", "name", "-l", "app.kubernetes.io/component=doctor")
	if err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("pods are left: %s (%v)", out, err)
	}
}

// eventuallyQuiet waits until the doctor says nothing any more. Meanwhile things may be
// unknown and, on a cluster that was healthy from the first, nothing may be wrong.
func eventuallyQuiet(t *testing.T, healthy bool, args ...string) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); ; {
		said := labDoctor(t, args...).said()
		if len(said) == 0 {
			return
		}
		t.Logf("not yet quiet:\n%s", strings.Join(said, "\n"))
		alarm := slices.ContainsFunc(said, func(s string) bool { return !strings.HasPrefix(s, "unknown ") })
		if healthy && alarm || time.Now().After(end) {
			t.Fatalf("false alarms:\n%s", strings.Join(said, "\n"))
		}
		<-time.After(time.Second)
	}
}

// A controller-manager whose grace is shorter than the time between two signs of
// life makes nodes flap. The doctor says so at once, and says nothing once the grace is right.
func TestDoctorFindsFlappingNodes(t *testing.T) {
	l := kubeLab(t)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	defer cancel()
	args := managerArguments(t, l)
	if err := l.KillControl(ctx, "kube-controller-manager"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := l.StartControl(ctx); err != nil {
			t.Error(err)
		}
	})
	hasty := exec.CommandContext(ctx, args[0], append(args[1:], "--node-monitor-grace-period=4s", "--node-monitor-period=1s")...)
	if err := hasty.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = hasty.Wait(); close(ended) }()       // it is killed
	stop := func() { _ = hasty.Process.Kill(); <-ended } // it may have ended
	defer stop()

	worker := l.Workers()[0].Name
	flapped := func(d doctored) (finding *doctor.Finding) {
		for _, r := range d.Results {
			for i, f := range r.Findings {
				if r.Check == "node-flapping" && f.Object == "node "+worker {
					finding = &r.Findings[i]
				}
			}
		}
		return finding
	}
	events := func(f *doctor.Finding) bool {
		return f != nil && strings.Contains(strings.Join(f.Evidence, "\n"), "NodeNotReady at ")
	}
	f := flapped(labDoctor(t, "--kubeconfig", l.Kubeconfig()))
	for end := time.Now().Add(2 * time.Minute); !events(f); f = flapped(labDoctor(t, "--kubeconfig", l.Kubeconfig(), "--check", "node-flapping")) {
		if time.Now().After(end) {
			t.Fatalf("no node flaps: %+v", f)
		}
		<-time.After(time.Second)
	}
	if f.Severity != doctor.Error || !strings.Contains(f.Problem, "taken for lost after 4s") {
		t.Errorf("found %+v", f)
	}
	t.Logf("%s: %s\n%s", f.Object, f.Problem, strings.Join(f.Evidence, "\n"))

	stop()
	if err := l.StartControl(ctx); err != nil {
		t.Fatal(err)
	}
	// The events of the last hour are true still; they go with the cluster's memory of them.
	for _, ns := range []string{"default"} {
		if _, err := l.Kubectl(ctx, "-n", ns, "delete", "events", "--all"); err != nil {
			t.Fatal(err)
		}
	}
	eventuallyQuiet(t, false, "--kubeconfig", l.Kubeconfig())
}

// managerArguments is how the lab started its controller-manager.
func managerArguments(t *testing.T, l *lab.Lab) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		args := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		if strings.Contains(string(text), "kube-controller-manager") && strings.Contains(string(text), filepath.Dir(l.Kubeconfig())+"/") {
			exe, err := os.Readlink(filepath.Dir(file) + "/exe")
			if err != nil {
				t.Fatal(err)
			}
			if args[0] == exe || filepath.Base(args[0]) == filepath.Base(exe) {
				args = args[1:]
			}
			return append([]string{exe}, args...)
		}
	}
	t.Fatalf("no controller-manager of this lab runs; looked at %s processes", strconv.Itoa(len(all)))
	return nil
}
