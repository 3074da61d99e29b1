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
	check("node offline", "10.90.0.12 is offline")
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
