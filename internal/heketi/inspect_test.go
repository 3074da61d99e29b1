package heketi

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/heketi/heketitest"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

func TestInspect(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	b := newBackend(t, s, func(c *Config) { c.Gluster = s.Gluster() })
	check := func(what string, want ...string) {
		t.Helper()
		r, err := b.Inspect(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Findings) != len(want) {
			t.Fatalf("%s: %+v, want %d findings", what, r.Findings, len(want))
		}
		for i, f := range r.Findings {
			if !strings.Contains(f.Detail, want[i]) || f.Next == "" {
				t.Errorf("%s: %+v does not say %q", what, f, want[i])
			}
		}
	}
	check("as it should be")
	spec := testSpec(t, "pvc-1", volume.GiB)
	v := mustCreate(t, b, spec)
	r, err := b.Inspect(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	want := Report{Clusters: 1, Nodes: 3, Devices: 3, Volumes: 1, Total: 180 * volume.GiB, Free: r.Free}
	if diff := cmp.Diff(want, r); diff != "" || r.Free > 177*volume.GiB || r.Free < 176*volume.GiB {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.SetNodeState("10.90.0.12", api.EntryStateOffline)
	check("node offline", "10.90.0.12 is offline", "in three copies")
	s.SetNodeState("10.90.0.12", api.EntryStateOnline)
	s.RemoveGlusterVolume("pvc-1")
	check("only heketi has it", "volume pvc-1 is in heketi")
	s.AddGlusterVolume(gluster.Volume{Name: "pvc-2", Options: map[string]string{mark.Handle: "bl1.heketi.lab.pvc-2"}})
	s.AddGlusterVolume(gluster.Volume{Name: "by-hand"})
	check("only Gluster has it", "volume pvc-2 is in Gluster", "volume pvc-1 is in heketi")
	if err := b.Delete(testContext(t), v.Handle); err != nil {
		t.Fatal(err)
	}
	s.RemoveGlusterVolume("pvc-2")
	s.OnStep(func(step heketitest.Step) error {
		if step.What == "gluster start" {
			return heketitest.ErrKill
		}
		return nil
	})
	if _, err := b.Create(testContext(t), spec); err == nil {
		t.Fatal("a create over a killed heketi succeeded")
	}
	s.OnStep(nil)
	if _, err := b.Inspect(testContext(t)); !volume.Is(err, volume.Unavailable) {
		t.Errorf("of a dead heketi: %v, want Unavailable", err)
	}
	s.Restart()
	check("restarted in a create", "create-volume")
	b.ClusterIDs = []string{strings.Repeat("0", 32)}
	check("wrong cluster", "no cluster 0000", "create-volume")
}

// Agents of another Gluster see nothing of what heketi has. Nobody is told to
// delete anything because of that.
func TestInspectOfTwoThatDoNotBelongTogether(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	b := newBackend(t, s)
	spec := testSpec(t, "pvc-1", volume.GiB)
	mustCreate(t, b, spec)
	other := s.Gluster()
	other.Strange = true
	apart := newBackend(t, s, func(c *Config) { c.Gluster = other })
	r, err := apart.Inspect(testContext(t))
	if err != nil || len(r.Findings) != 1 || !r.Findings[0].Bad || !strings.Contains(r.Findings[0].Detail, "do not belong together") ||
		!strings.Contains(r.Findings[0].Next, "delete nothing") {
		t.Errorf("got %+v, %v; want the one finding that they do not belong together", r.Findings, err)
	}
	if _, err := apart.Create(testContext(t), spec); !volume.Is(err, volume.Precondition) || !strings.Contains(err.Error(), "delete nothing") {
		t.Errorf("a repeated create: %v; want Precondition that says to delete nothing", err)
	}
	other.Err = &volume.Error{Kind: volume.Unavailable, Op: "list peers"}
	if r, err = apart.Inspect(testContext(t)); err != nil || len(r.Findings) != 1 || r.Findings[0].Bad || !strings.Contains(r.Findings[0].Detail, "cannot be told") {
		t.Errorf("with silent agents: %+v, %v; want one warning", r.Findings, err)
	}
}

// One node that lost its configuration is enough to make their word worthless.
func TestInspectOfNodesThatDisagree(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	lost := s.Gluster()
	lost.Strange = true
	b := newBackend(t, s, func(c *Config) { c.Gluster = AnyOf{lost, s.Gluster()} })
	mustCreate(t, newBackend(t, s), testSpec(t, "pvc-1", volume.GiB))
	r, err := b.Inspect(testContext(t))
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Bad || !strings.Contains(r.Findings[0].Detail, "not one Gluster cluster") {
		t.Errorf("got %+v, %v; want one warning that the nodes disagree", r.Findings, err)
	}
}

func TestInspectRoom(t *testing.T) {
	small := heketitest.Default(3)
	small.Clusters[0].Nodes[0].Devices[0] = 512 * volume.MiB
	full := heketitest.Default(3)
	for i := range full.Clusters[0].Nodes {
		full.Clusters[0].Nodes[i].Devices[0] = 512 * volume.MiB
	}
	for want, c := range map[string]heketitest.Config{"in three copies": small, "single brick": full} {
		r, err := newBackend(t, newServer(t, c)).Inspect(testContext(t))
		if err != nil || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Detail, want) || r.Findings[0].Bad != (want == "single brick") {
			t.Errorf("got %+v, %v; want one finding that says %q", r.Findings, err, want)
		}
	}
}
