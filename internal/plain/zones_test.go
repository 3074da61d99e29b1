package plain

import (
	"slices"
	"strings"
	"testing"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/volume"
)

// A class that names zones gets bricks there only, room that is there only, and
// a clear refusal where too few nodes are there.
func TestZonesOfAClass(t *testing.T) {
	c := agenttest.New(agenttest.Default(3)) // in z1, z2 and z3
	b := newBackend(t, c)
	within := func(name, typ string, zones ...string) volume.Spec {
		s := testSpec(t, name, volume.GiB, "volumetype", typ)
		var err error
		if s.Parameters, err = s.Parameters.Within(zones); err != nil {
			t.Fatal(err)
		}
		return s
	}
	kept := within("kept", "replicate:2", "z1", "z3")
	v := mustCreate(t, b, kept)
	for _, k := range v.Bricks {
		if strings.HasPrefix(k, b.Nodes[1].Address+":") {
			t.Errorf("a brick lies in z2: %v", v.Bricks)
		}
	}
	// The same request without zones is the same volume: zones only say where to begin.
	if again := mustCreate(t, b, within("kept", "replicate:2")); !slices.Equal(again.Bricks, v.Bricks) {
		t.Errorf("bricks %v, before %v", again.Bricks, v.Bricks)
	}
	for _, zones := range [][]string{{"z1"}, {"z9"}, {"node n1"}} {
		_, err := b.Create(testContext(t), within("too-few", "replicate:2", zones...))
		if !volume.Is(err, volume.Precondition) || !strings.Contains(err.Error(), zones[0]) {
			t.Errorf("within %v: %v, want failed precondition that names the zone", zones, err)
		}
	}
	capacity := func(s volume.Spec) volume.Capacity {
		room, err := b.Capacity(testContext(t), b.Pool, s.Parameters)
		if err != nil {
			t.Fatal(err)
		}
		return room
	}
	if all, some := capacity(within("x", "none")), capacity(within("x", "none", "z2")); some.Available*2 >= all.Available || some.Largest == 0 {
		t.Errorf("room in z2 %+v, in all %+v", some, all)
	}
	if none := capacity(within("x", "replicate:2", "z2")); none.Largest != 0 || none.Available != 0 {
		t.Errorf("room for two replicas in one zone: %+v", none)
	}
	if err := b.Delete(testContext(t), kept.Handle()); err != nil {
		t.Fatal(err)
	}
	c.CheckEmpty(t)
}

// Whoever uses a volume first has a brick and the volume's file nearby.
func TestNearTheFirstUser(t *testing.T) {
	c := agenttest.New(agenttest.Default(6)) // in z1 to z6
	b := newBackend(t, c)
	for i := range b.Nodes {
		n := b.Nodes[i]
		for _, typ := range []string{"none", "replicate:3"} {
			s := testSpec(t, strings.ReplaceAll(n.Zone+typ, ":", ""), volume.GiB, "volumetype", typ)
			s.Near = n.Zone
			v := mustCreate(t, b, s)
			near := func(k string) bool { return strings.HasPrefix(k, n.Address+":") }
			if v.Servers[0] != n.Address || !slices.ContainsFunc(v.Bricks, near) {
				t.Errorf("near %s: servers %v, bricks %v", n.Zone, v.Servers, v.Bricks)
			}
			if err := b.Delete(testContext(t), s.Handle()); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.CheckEmpty(t)
}
