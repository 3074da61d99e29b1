package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/heketi/heketitest"
)

// leaveHalf leaves a volume as a controller that dies before the verb.
func (c *command) leaveHalf(t *testing.T, name string, verb agenttest.Verb) {
	t.Helper()
	c.cluster.Fail(agenttest.FailTimes(agenttest.Call{Verb: verb, Volume: name, Moment: agenttest.Before}, 0, nil))
	defer c.cluster.Fail(nil)
	if _, _, code := c.run("volume", "create", name, "--size", "1GiB"); code != exitLater {
		t.Fatalf("an interrupted create: exit code %d", code)
	}
}

// orphans runs the command and returns what it showed as JSON.
func (c *command) orphans(t *testing.T, want int, args ...string) (v orphansView, errs string) {
	t.Helper()
	out, errs, code := c.run(append([]string{"orphans", "-o", "json"}, args...)...)
	if code != want {
		t.Fatalf("orphans %v: exit code %d, want %d\n%s", args, code, want, errs)
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("orphans %v: %v\n%s", args, err, out)
	}
	return v, errs
}

func TestOrphansFromListToDelete(t *testing.T) {
	c := newCommand(t)
	c.must(t, "volume", "create", "kept", "--size", "1GiB")
	c.must(t, "volume", "create", "old", "--size", "1GiB", "-p", "onDelete=retain")
	c.must(t, "volume", "delete", "old", "--yes")
	if out := c.must(t, "orphans"); !strings.HasPrefix(out, "no orphans were found\n") || !strings.Contains(out, "bl1.plain.lab.old") {
		t.Errorf("a healthy pool shows\n%s", out)
	}
	before := c.cluster.Leftovers()
	c.leaveHalf(t, "made", agenttest.StartVolume)
	c.leaveHalf(t, "begun", agenttest.CreateVolume)
	found := c.cluster.Leftovers()
	out := c.must(t, "orphans", "--pool", "lab")
	for _, want := range []string{"unfinished-volume", "n1/root1", "bl1.plain.lab.begun", "1GiB", "retained by intent"} {
		if !strings.Contains(out, want) {
			t.Errorf("the list does not show %q:\n%s", want, out)
		}
	}
	if diff := cmp.Diff(found, c.cluster.Leftovers()); diff != "" {
		t.Errorf("a dry run changed something:\n%s", diff)
	}
	v, errs := c.orphans(t, exitOK, "--delete", "--grace", "10ms")
	if len(v.Orphans) != 4 || len(v.Retained) != 1 || !strings.Contains(errs, "looking again in") {
		t.Errorf("deleted %+v\n%s", v, errs)
	}
	for _, o := range v.Orphans {
		if o.Result != "removed" {
			t.Errorf("%s %s: %s", o.Kind, o.Handle, o.Result)
		}
	}
	if diff := cmp.Diff(before, c.cluster.Leftovers()); diff != "" {
		t.Errorf("not exactly the orphans were removed:\n%s", diff)
	}
	if v, _ := c.orphans(t, exitOK, "--delete"); len(v.Orphans) != 0 {
		t.Errorf("left after the deletion: %+v", v)
	}
}

// With a kubeconfig, volumes for which no PersistentVolume stands are listed apart.
func TestOrphansOfACluster(t *testing.T) {
	c := newCommand(t)
	c.kubernetes = fake.NewClientset(&corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv"},
		Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
			CSI: &corev1.CSIPersistentVolumeSource{Driver: "bricklayer.csi", VolumeHandle: "bl1.plain.lab.claimed"},
		}},
	})
	c.must(t, "volume", "create", "claimed", "--size", "1GiB")
	c.must(t, "volume", "create", "alone", "--size", "1GiB")
	if v, _ := c.orphans(t, exitOK); len(v.Unclaimed) != 0 {
		t.Errorf("without a cluster to ask: %+v", v)
	}
	before := c.cluster.Leftovers()
	v, _ := c.orphans(t, exitOK, "--kubeconfig", "the test's", "--delete", "--grace", "10ms")
	if len(v.Orphans) != 0 || len(v.Unclaimed) != 1 || v.Unclaimed[0].Handle != "bl1.plain.lab.alone" {
		t.Errorf("found %+v", v)
	}
	if diff := cmp.Diff(before, c.cluster.Leftovers()); diff != "" {
		t.Errorf("whole volumes were touched:\n%s", diff)
	}
	if out := c.must(t, "orphans", "--kubeconfig", "the test's"); !strings.Contains(out, "no PersistentVolume stands") || !strings.Contains(out, "bl1.plain.lab.alone") {
		t.Errorf("it shows\n%s", out)
	}
}

func TestOrphansThatCannotBeRemoved(t *testing.T) {
	c := newCommand(t)
	c.leaveHalf(t, "begun", agenttest.CreateVolume)
	c.cluster.Fail(agenttest.FailTimes(agenttest.Call{Node: "n2", Verb: agenttest.RemoveBrick, Moment: agenttest.Before}, 0, nil))
	v, _ := c.orphans(t, exitFailed, "--delete", "--grace", "1ms")
	var results []string
	for _, o := range v.Orphans {
		result, _, _ := strings.Cut(o.Result, ":")
		results = append(results, o.Node+" "+result)
	}
	if diff := cmp.Diff([]string{"n1 removed", "n2 not removed", "n3 removed"}, results); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOrphansOfASilentNode(t *testing.T) {
	c := newCommand(t)
	c.leaveHalf(t, "begun", agenttest.CreateVolume)
	c.cluster.SetState("n2", agenttest.AgentDown)
	v, errs := c.orphans(t, exitLater)
	if len(v.Orphans) != 0 || len(v.Unknown) != 1 || !strings.Contains(v.Unknown[0], "n2") || !strings.Contains(errs, "did not answer") {
		t.Errorf("shown: %+v\n%s", v, errs)
	}
	v, _ = c.orphans(t, exitLater, "--delete", "--grace", "1ms")
	if len(v.Orphans) != 0 {
		t.Errorf("removed although a node is silent: %+v", v)
	}
}

// finishing finishes a create when it is told that the grace has begun, and
// keeps what it is told.
type finishing struct {
	bytes.Buffer
	begun  string
	finish func()
}

func (f *finishing) Write(p []byte) (int, error) {
	if f.finish != nil && strings.Contains(string(p), f.begun) {
		f.finish()
		f.finish = nil
	}
	return f.Buffer.Write(p)
}

func (c *command) runWith(ctx context.Context, progress *finishing, args ...string) (string, int) {
	var out bytes.Buffer
	code := run(ctx, environment{
		in: strings.NewReader(""), out: &out, err: progress, getenv: func(name string) string { return c.env[name] },
		dial: func(*poolsOptions, string) (agents, error) { return fakeAgents{c.cluster}, nil },
	}, args)
	return out.String(), code
}

func TestOrphansAndACreateInFlight(t *testing.T) {
	c := newCommand(t)
	c.leaveHalf(t, "begun", agenttest.CreateVolume)
	c.leaveHalf(t, "slow", agenttest.StartVolume)
	progress := &finishing{begun: "looking again in", finish: func() { c.must(t, "volume", "create", "slow", "--size", "1GiB") }}
	out, code := c.runWith(t.Context(), progress, "orphans", "--delete", "--grace", "10ms")
	if code != exitOK || strings.Count(out, "removed") != 3 || strings.Count(out, "left alone") != 1 {
		t.Errorf("exit code %d\n%s%s", code, out, &progress.Buffer)
	}
	c.must(t, "volume", "get", "slow", "--health")
}

func TestOrphansInterrupted(t *testing.T) {
	c := newCommand(t)
	c.leaveHalf(t, "begun", agenttest.CreateVolume)
	found := c.cluster.Leftovers()
	ctx, cancel := context.WithCancel(t.Context())
	out, code := c.runWith(ctx, &finishing{begun: "looking again in", finish: cancel}, "orphans", "--delete", "--grace", "1h")
	if code != exitInterrupted || out != "" {
		t.Errorf("interrupted in the grace: exit code %d\n%s", code, out)
	}
	if diff := cmp.Diff(found, c.cluster.Leftovers()); diff != "" {
		t.Errorf("it removed something:\n%s", diff)
	}
}

// TestOrphansOfHeketi has heketi in a pool whose agents see another Gluster.
func TestOrphansOfHeketi(t *testing.T) {
	c := newCommand(t)
	s := heketitest.New(heketitest.Default(3))
	t.Cleanup(s.Close)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("adminkey"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := testPool + "  heketi: {url: " + s.URL() + ", user: admin, keyFile: " + key + "}\n"
	if err := os.WriteFile(c.env["BRICKLAYER_POOLS"], []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// heketi makes the volume, and the create then misses it in the agents' Gluster.
	if _, errs, code := c.run("volume", "create", "lvm", "--size", "1GiB", "-p", "lvm=true"); code != exitExists {
		t.Fatalf("create: exit code %d\n%s", code, errs)
	}
	if v, _ := c.orphans(t, exitOK); len(v.Orphans) != 1 || v.Orphans[0].Kind != "only-in-heketi" || v.Orphans[0].Created == nil {
		t.Errorf("found %+v", v)
	}
	if v, _ := c.orphans(t, exitOK, "--delete", "--grace", "1ms"); len(v.Orphans) != 1 || v.Orphans[0].Result != "removed" {
		t.Errorf("removed %+v", v)
	}
	if left, err := s.Leftovers(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left over (%v): %q", err, left)
	}
	s.Kill()
	if v, _ := c.orphans(t, exitLater); len(v.Orphans) != 0 || len(v.Unknown) != 1 {
		t.Errorf("of a dead heketi: %+v", v)
	}
}

func TestOrphansBadInput(t *testing.T) {
	c := newCommand(t)
	for want, args := range map[string][]string{
		"--pool": {"--pool", "other"}, "--grace": {"--grace", "0s"}, "--timeout": {"--timeout", "-1s"},
		"--output": {"-o", "xml"}, "no arguments": {"all"},
	} {
		if _, errs, code := c.run(append([]string{"orphans"}, args...)...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("orphans %v: exit code %d, %q", args, code, errs)
		}
	}
}
