package orphans

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/heketi/heketitest"
	"bricklayer.csi/internal/volume"
)

func TestHealthyPoolHasNone(t *testing.T) {
	c := agenttest.New(agenttest.Default(6))
	p := newPool(c)
	for name, kind := range map[string]string{"a": "replicate:3", "b": "disperse:4:2", "c": "none", "d": "replicate:3:arbiter:1"} {
		mustCreate(t, p.Plain, name, "volumetype", kind)
	}
	c.AddForeignVolume("by-hand", gluster.Brick{Host: "10.90.0.11", Path: "/data/by-hand"})
	if r := want(t, p); len(r.Retained) > 0 {
		t.Errorf("retained: %v", names(r.Retained))
	}
}

func TestBrickDirectories(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	p := newPool(c)
	mustCreate(t, p.Plain, "kept")
	mustCreate(t, p.Plain, "moved", "volumetype", "none")
	kept := c.Leftovers()
	leaveBrick(t, c, "n2", "half", "n1", "n2", "n3")
	// A second directory of a volume that lies elsewhere.
	for _, n := range c.Config().Nodes {
		if there, _ := c.Node(n.Name).Bricks(testContext(t), "moved"); len(there) == 0 {
			leaveBrick(t, c, n.Name, "moved", n.Name)
		}
	}
	c.SetUsed("n2", brick.Ref{Root: "root1", Volume: "half"}, 5*volume.MiB, 3)
	r := p.Look(testContext(t))
	if len(r.Orphans) != 3 || r.Orphans[0].Name != "half" || r.Orphans[1].Name != "moved" || r.Orphans[2].Name != "moved" {
		t.Fatalf("found %v", names(r.Orphans))
	}
	if e := r.Orphans[0]; e.Node != "n2" || e.Root != "root1" || e.Size != volume.GiB || *e.Used != 5*volume.MiB || e.Handle.String() != "bl1.plain.lab.half" {
		t.Errorf("half is shown as %+v", e)
	}
	remove(t, p, r.Both(p.Look(testContext(t))))
	if diff := cmp.Diff(kept, c.Leftovers()); diff != "" {
		t.Errorf("not exactly the orphans were removed:\n%s", diff)
	}
	want(t, p)
}

// TestUnfinished leaves a create at each of its steps and finds what it left.
func TestUnfinished(t *testing.T) {
	for verb, found := range map[agenttest.Verb]string{
		agenttest.CreateVolume: "brick-directory",
		agenttest.SetOptions:   "unfinished-volume",
		agenttest.StartVolume:  "unfinished-volume",
	} {
		t.Run(string(verb), func(t *testing.T) {
			c := agenttest.New(agenttest.Default(3))
			p := newPool(c)
			leaveHalf(t, c, p, verb)
			r := p.Look(testContext(t))
			if len(r.Orphans) == 0 || len(r.Unknown) > 0 {
				t.Fatalf("found %v, %v", names(r.Orphans), r.Unknown)
			}
			for _, e := range r.Orphans {
				if string(e.Kind) != found || e.Size != volume.GiB || e.Used == nil {
					t.Errorf("found %+v, want kind %s", e, found)
				}
			}
			remove(t, p, r.Orphans)
			c.CheckEmpty(t)
		})
	}
}

// leaveHalf leaves the volume "half" as a controller that dies before the verb.
func leaveHalf(t *testing.T, c *agenttest.Cluster, p Pool, verb agenttest.Verb) {
	t.Helper()
	c.Fail(agenttest.FailTimes(agenttest.Call{Verb: verb, Moment: agenttest.Before}, 0, nil))
	defer c.Fail(nil)
	if _, err := p.Plain.Create(testContext(t), spec(t, "half")); err == nil {
		t.Fatal("the create was not interrupted")
	}
}

func TestCreateThatFinishesIsLeftAlone(t *testing.T) {
	for _, verb := range []agenttest.Verb{agenttest.CreateVolume, agenttest.StartVolume} {
		c := agenttest.New(agenttest.Default(3))
		p := newPool(c)
		leaveHalf(t, c, p, verb)
		first := p.Look(testContext(t))
		mustCreate(t, p.Plain, "half")
		if both := first.Both(p.Look(testContext(t))); len(first.Orphans) == 0 || len(both) > 0 {
			t.Errorf("%s: first %v, both times %v", verb, names(first.Orphans), names(both))
		}
		for _, e := range first.Orphans { // it may have finished after the second look too
			if err := p.Remove(testContext(t), e)[0]; !errors.Is(err, ErrChanged) {
				t.Errorf("%s: remove %s of a volume that was finished: %v", verb, e.Kind, err)
			}
		}
		if v, err := p.Plain.Get(testContext(t), first.Orphans[0].Handle); err != nil || v.State != volume.Ready {
			t.Errorf("%s: the volume is %+v, %v", verb, v, err)
		}
	}
}

// TestCreateThatFinishesWithinALook has a create end after the brick directories
// were read and before the volumes are.
func TestCreateThatFinishesWithinALook(t *testing.T) {
	for _, verb := range []agenttest.Verb{agenttest.CreateVolume, agenttest.StartVolume} {
		c := agenttest.New(agenttest.Default(3))
		p := newPool(c)
		leaveHalf(t, c, p, verb)
		c.Fail(agenttest.Do(agenttest.Call{Verb: agenttest.Volumes, Moment: agenttest.Before}, func() { mustCreate(t, p.Plain, "half") }))
		want(t, p)
		c.Fail(nil)
	}
}

// TestOrderOfALook makes whole volumes in the middle of a look: they are orphans
// to nobody only if Gluster's volumes are read last.
func TestOrderOfALook(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	p := newPool(c)
	c.Fail(agenttest.Do(agenttest.Call{Verb: agenttest.Bricks, Moment: agenttest.Before}, func() { mustCreate(t, p.Plain, "a", "volumetype", "replicate:3") }))
	want(t, p)

	p = newHeketiPool(t, newHeketi(t), agenttest.New(agenttest.Default(3)))
	p.Heketi = listing{p.Heketi, func() { mustCreate(t, p.Heketi, "b", "lvm", "true") }}
	want(t, p)
}

// listing is a backend that does something before it lists.
type listing struct {
	volume.Backend
	before func()
}

func (l listing) List(ctx context.Context, pool string) ([]volume.Volume, error) {
	l.before()
	return l.Backend.List(ctx, pool)
}

func TestChangedIsLeftAlone(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	p := newPool(c)
	leaveBrick(t, c, "n1", "half", "n1")
	r := want(t, p, "brick-directory half n1")
	c.SetUsed("n1", brick.Ref{Root: "root1", Volume: "half"}, volume.MiB, 1)
	if both := r.Both(p.Look(testContext(t))); len(both) > 0 {
		t.Errorf("somebody writes to it, and it is taken for unchanged: %v", names(both))
	}
	if err := p.Remove(testContext(t), r.Orphans[0])[0]; !errors.Is(err, ErrChanged) {
		t.Errorf("remove: %v, want ErrChanged", err)
	}
	want(t, p, "brick-directory half n1")
}

func TestSilentNode(t *testing.T) {
	for _, state := range []agenttest.State{agenttest.AgentDown, agenttest.GlusterdDown, agenttest.Off} {
		c := agenttest.New(agenttest.Default(5))
		p := newPool(c)
		leaveBrick(t, c, "n1", "spans", "n1", "n2")
		leaveBrick(t, c, "n2", "there", "n2")
		leaveBrick(t, c, "n3", "apart", "n3", "n4")
		all := want(t, p, "brick-directory apart n3", "brick-directory spans n1", "brick-directory there n2")
		c.SetState("n2", state)
		r := p.Look(testContext(t))
		if diff := cmp.Diff([]string{"brick-directory apart n3"}, names(r.Orphans)); diff != "" {
			t.Errorf("state %d (-want +got):\n%s", state, diff)
		}
		if len(r.Unknown) != 1 || !r.Silent() || !strings.Contains(r.Unknown[0].Error(), "n2") {
			t.Errorf("state %d: unknown is %v", state, r.Unknown)
		}
		if err := p.Remove(testContext(t), all.Orphans[1])[0]; !volume.Is(err, volume.Unavailable) {
			t.Errorf("state %d: remove of what cannot be told: %v", state, err)
		}
		c.SetState("n4", agenttest.Off)
		c.SetState("n5", agenttest.Off)
		if r := p.Look(testContext(t)); len(r.Orphans) > 0 {
			t.Errorf("state %d: most nodes are silent, and %v is called orphaned", state, names(r.Orphans))
		}
	}
}

// forgetful is a node whose glusterd was installed anew: no peers, no volumes.
type forgetful struct{ *agenttest.Node }

func (forgetful) Volumes(context.Context) ([]gluster.Volume, error) { return nil, nil }

func (forgetful) Peers(context.Context) ([]gluster.Peer, error) {
	return []gluster.Peer{{Hostname: "localhost", Local: true, Connected: true}}, nil
}

func TestGlusterdThatLostItsVolumes(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	p := newPool(c)
	mustCreate(t, p.Plain, "data", "volumetype", "replicate:3")
	for i := range p.Nodes {
		p.Nodes[i].Agent = forgetful{c.Node(p.Nodes[i].Name)}
		if r := p.Look(testContext(t)); len(r.Orphans) > 0 || len(r.Unknown) != i+1 {
			t.Errorf("%d of 3 glusterds lost their volumes: orphans %v, unknown %v", i+1, names(r.Orphans), r.Unknown)
		}
	}
}

// TestNodeUnderAnotherName has the pool call a node otherwise than Gluster does.
func TestNodeUnderAnotherName(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	p := newPool(c)
	mustCreate(t, p.Plain, "data", "volumetype", "replicate:3")
	for i := range p.Nodes {
		p.Nodes[i].Address = p.Nodes[i].Name + ".example"
	}
	want(t, p)
}

func TestRetained(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	p := newPool(c)
	v := mustCreate(t, p.Plain, "old", "onDelete", "retain")
	if err := p.Plain.Delete(testContext(t), v.Handle); err != nil {
		t.Fatal(err)
	}
	r := want(t, p)
	if len(r.Retained) != 1 || r.Retained[0].Handle != v.Handle || r.Retained[0].Size != volume.GiB || r.Retained[0].Created.IsZero() {
		t.Fatalf("retained: %+v", r.Retained)
	}
	if err := p.Remove(testContext(t), r.Retained[0])[0]; !volume.Is(err, volume.Precondition) {
		t.Errorf("remove of a retained volume: %v", err)
	}
	if len(p.Look(testContext(t)).Retained) != 1 {
		t.Error("the retained volume is gone")
	}
}

// Whole volumes for which nobody stands are shown, never removed, and not for
// want of an answer.
func TestUnclaimed(t *testing.T) {
	s := newHeketi(t)
	p := newHeketiPool(t, s, agenttest.New(agenttest.Default(3)))
	claimed, alone := mustCreate(t, p.Heketi, "claimed", "lvm", "true"), mustCreate(t, p.Heketi, "alone", "lvm", "true")
	p.Claimed = func(context.Context) (map[volume.Handle]bool, error) {
		return map[volume.Handle]bool{claimed.Handle: true}, nil
	}
	r := want(t, p)
	if len(r.Unclaimed) != 1 || r.Unclaimed[0].Handle != alone.Handle || r.Unclaimed[0].Size != volume.GiB {
		t.Fatalf("unclaimed: %+v", r.Unclaimed)
	}
	if err := p.Remove(testContext(t), r.Unclaimed[0])[0]; !volume.Is(err, volume.Precondition) {
		t.Errorf("remove of a whole volume: %v", err)
	}
	p.Claimed = func(context.Context) (map[volume.Handle]bool, error) { return nil, errors.New("no answer") }
	if r := p.Look(testContext(t)); len(r.Unclaimed) != 0 || len(r.Unknown) != 1 {
		t.Errorf("without an answer: %+v", r)
	}
}

func TestUnclaimedPlain(t *testing.T) {
	p := newPool(agenttest.New(agenttest.Default(3)))
	claimed, alone := mustCreate(t, p.Plain, "claimed"), mustCreate(t, p.Plain, "alone")
	old := mustCreate(t, p.Plain, "old", "onDelete", "retain")
	if err := p.Plain.Delete(testContext(t), old.Handle); err != nil {
		t.Fatal(err)
	}
	p.Claimed = func(context.Context) (map[volume.Handle]bool, error) {
		return map[volume.Handle]bool{claimed.Handle: true}, nil
	}
	r := want(t, p)
	if len(r.Unclaimed) != 1 || r.Unclaimed[0].Handle != alone.Handle || r.Unclaimed[0].Created.IsZero() || len(r.Retained) != 1 {
		t.Errorf("unclaimed %+v, retained %+v", r.Unclaimed, r.Retained)
	}
}

func TestHeketi(t *testing.T) {
	s := newHeketi(t)
	p := newHeketiPool(t, s, agenttest.New(agenttest.Default(3)))
	kept := mustCreate(t, p.Heketi, "kept", "lvm", "true")
	lost := mustCreate(t, p.Heketi, "lost", "lvm", "true")
	want(t, p)
	s.RemoveGlusterVolume("lost")
	s.AddGlusterVolume(gluster.Volume{Name: "forgotten", Status: gluster.StatusStarted, Options: map[string]string{"user.bricklayer.handle": "bl1.heketi.lab.forgotten"}})
	s.AddGlusterVolume(gluster.Volume{Name: "others", Options: map[string]string{"user.bricklayer.handle": "bl1.heketi.other.others"}})
	r := want(t, p, "only-in-heketi lost", "unknown-to-heketi forgotten")
	if e := r.Orphans[0]; e.Handle != lost.Handle || e.Size != volume.GiB || e.Created.IsZero() {
		t.Errorf("lost is shown as %+v", e)
	}
	remove(t, p, r.Orphans[:1])
	if err := p.Remove(testContext(t), r.Orphans[1])[0]; !volume.Is(err, volume.Precondition) || r.Orphans[1].Kind.Removable() {
		t.Errorf("remove of a volume that heketi forgot: %v", err)
	}
	want(t, p, "unknown-to-heketi forgotten")
	if _, err := p.Heketi.Get(testContext(t), kept.Handle); err != nil {
		t.Errorf("the volume that is nobody's orphan: %v", err)
	}
}

func TestHeketiUnfinished(t *testing.T) {
	s := newHeketi(t)
	p := newHeketiPool(t, s, agenttest.New(agenttest.Default(3)))
	s.OnStep(func(step heketitest.Step) error {
		if step.What == "gluster start" {
			return heketitest.ErrKill
		}
		return nil
	})
	if _, err := p.Heketi.Create(testContext(t), spec(t, "half", "lvm", "true")); err == nil {
		t.Fatal("the create was not interrupted")
	}
	s.OnStep(nil)
	if r := p.Look(testContext(t)); len(r.Orphans) > 0 || !r.Silent() {
		t.Errorf("heketi is dead: %v, %v", names(r.Orphans), r.Unknown)
	}
	s.Restart()
	r := want(t, p, "unfinished-volume half")
	remove(t, p, r.Orphans)
	if left, err := s.Leftovers(testContext(t)); err != nil || len(left) > 0 {
		t.Errorf("left over (%v): %q", err, left)
	}
}

// TestHeketiElsewhere has heketi serve a Gluster of which the agents know nothing.
func TestHeketiElsewhere(t *testing.T) {
	s := newHeketi(t)
	config := agenttest.Default(3)
	for i := range config.Nodes {
		config.Nodes[i].Address = "n" + string(rune('1'+i)) + ".example"
	}
	c := agenttest.New(config)
	p := newHeketiPool(t, s, c)
	for i := range p.Nodes {
		p.Nodes[i].Agent = c.Nodes()[i]
	}
	mustCreate(t, p.Heketi, "data", "lvm", "true")
	r := p.Look(testContext(t))
	if len(r.Orphans) > 0 || len(r.Unknown) != 1 || !strings.Contains(r.Unknown[0].Error(), "no peer") {
		t.Errorf("orphans %v, unknown %v", names(r.Orphans), r.Unknown)
	}
	p.Nodes = nil
	if r := p.Look(testContext(t)); len(r.Orphans) > 0 || len(r.Unknown) != 1 || r.Silent() {
		t.Errorf("without agents: orphans %v, unknown %v", names(r.Orphans), r.Unknown)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var said []time.Duration
		if err := Wait(t.Context(), 150*time.Second, time.Minute, func(left time.Duration) { said = append(said, left) }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]time.Duration{150 * time.Second, 90 * time.Second, 30 * time.Second}, said); diff != "" || time.Since(start) != 150*time.Second {
			t.Errorf("waited %v, said (-want +got):\n%s", time.Since(start), diff)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Wait(ctx, time.Hour, time.Hour, func(time.Duration) {}); !errors.Is(err, context.Canceled) {
			t.Errorf("an interrupted wait: %v", err)
		}
	})
}
