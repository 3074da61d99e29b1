package plain

import (
	"context"
	"strings"
	"testing"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// Each trouble of a pool gets an error of the right kind that names the node
// or what is wrong, and leaves nothing half made.
func TestTroublesOfThePool(t *testing.T) {
	tests := []struct {
		name    string
		trouble func(c *agenttest.Cluster)
		kind    volume.Kind
		says    []string
	}{
		{"agent down", func(c *agenttest.Cluster) { c.SetState("n2", agenttest.AgentDown) }, volume.Unavailable, []string{"n2", "agent"}},
		{"node off", func(c *agenttest.Cluster) { c.SetState("n2", agenttest.Off) }, volume.Unavailable, []string{"n2"}},
		{"glusterd down", func(c *agenttest.Cluster) { c.SetState("n3", agenttest.GlusterdDown) }, volume.Unavailable, []string{"n3", "glusterd"}},
		{"root not mounted", func(c *agenttest.Cluster) { c.SetMounted("n1", "root1", false) }, volume.Unavailable, []string{"n1", "root1", "mounted"}},
		{"root full", func(c *agenttest.Cluster) { c.Fill("n1", "root1", 20*volume.GiB) }, volume.Exhausted, []string{"n1/root1"}},
		{"short of memory", func(c *agenttest.Cluster) { c.SetMemory("n2", 4<<30, 100<<20, 0) }, volume.Exhausted, []string{"n2: it is short of memory: 100 MiB are available", "256 MiB", guard.Cure}},
		{"waiting for memory", func(c *agenttest.Cluster) { c.SetMemory("n2", 4<<30, 2<<30, 60) }, volume.Exhausted, []string{"n2: it is short of memory: its tasks waited for it 60 %", guard.Cure}},
		{"short of memory, and one away", func(c *agenttest.Cluster) {
			c.SetMemory("n2", 4<<30, 100<<20, 0)
			c.SetState("n3", agenttest.AgentDown)
		}, volume.Unavailable, []string{"n2", "memory", "n3", "agent"}},
		{"peer rejected", func(c *agenttest.Cluster) { c.RejectPeer("n3", true) }, volume.Unavailable, []string{"10.90.0.13"}},
		{"another transaction", func(c *agenttest.Cluster) { c.LockVolume("pvc-1") }, volume.Busy, []string{"transaction"}},
		{"all off", func(c *agenttest.Cluster) {
			for _, n := range []string{"n1", "n2", "n3"} {
				c.SetState(n, agenttest.Off)
			}
		}, volume.Unavailable, []string{"n1"}},
	}
	spec := testSpec(t, "pvc-1", volume.GiB)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := agenttest.New(agenttest.Default(3))
			test.trouble(c)
			_, err := newService(t, c).Create(testContext(t), spec)
			if !volume.Is(err, test.kind) {
				t.Fatalf("got %v (%v), want %v", err, volume.KindOf(err), test.kind)
			}
			for _, say := range test.says {
				if !strings.Contains(err.Error(), say) {
					t.Errorf("%v\ndoes not say %q", err, say)
				}
			}
			if volume.KindOf(err).Definite() {
				c.CheckEmpty(t)
			}
		})
	}
}

func TestFileSystemWithoutQuotas(t *testing.T) {
	config := agenttest.Default(3)
	config.Nodes[0].Roots[0].NoQuota = true
	c := agenttest.New(config)
	_, err := newService(t, c).Create(testContext(t), testSpec(t, "a", volume.GiB))
	if err == nil || !strings.Contains(err.Error(), "prjquota") || !strings.Contains(err.Error(), "n1/root1") {
		t.Errorf("got %v, want an error that names the root and prjquota", err)
	}
	c.CheckEmpty(t)
	spec := testSpec(t, "a", volume.GiB, "quota", "none")
	v := mustCreate(t, newBackend(t, c), spec)
	if len(c.Leftovers().Quotas) != 0 {
		t.Errorf("quota none made quotas: %v", c.Leftovers().Quotas)
	}
	if err := newService(t, c).Delete(testContext(t), v.Handle); err != nil {
		t.Fatal(err)
	}
	c.CheckEmpty(t)
}

// A volume that we did not make keeps its name, its bricks and its options.
func TestForeignVolumeIsLeftAlone(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	c.AddForeignVolume("pvc-1", gluster.Brick{Host: "10.90.0.11", Path: "/srv/other"})
	spec := testSpec(t, "pvc-1", volume.GiB)
	s := newService(t, c)
	if _, err := s.Create(testContext(t), spec); !volume.Is(err, volume.Exists) {
		t.Errorf("create: %v, want Exists", err)
	}
	if err := s.Delete(testContext(t), spec.Handle()); err != nil && !volume.Is(err, volume.Precondition) {
		t.Errorf("delete: %v", err)
	}
	left := c.Leftovers()
	if len(left.Volumes) != 1 || len(left.Bricks) != 0 {
		t.Errorf("after all:\n%s", left)
	}
}

func TestDeleteRefusesWhileABrickCannotBeReached(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	spec := testSpec(t, "pvc-1", volume.GiB)
	mustCreate(t, newBackend(t, c), spec)
	for _, state := range []agenttest.State{agenttest.AgentDown, agenttest.Off} {
		c.SetState("n2", state)
		err := newService(t, c).Delete(testContext(t), spec.Handle())
		if !volume.Is(err, volume.Unavailable) || !strings.Contains(err.Error(), "n2") {
			t.Errorf("got %v, want Unavailable naming n2", err)
		}
		c.SetState("n2", agenttest.Up)
		if got, err := newService(t, c).Get(testContext(t), spec.Handle()); err != nil {
			t.Errorf("the volume is gone in part: %+v, %v", got, err)
		}
	}
	wantOne(t, c, spec, volume.GiB)
}

// leaveUnmarked breaks a creation off between making the volume and marking it.
func leaveUnmarked(t *testing.T, c *agenttest.Cluster, spec volume.Spec) {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	c.Fail(agenttest.Do(agenttest.Call{Verb: agenttest.SetOptions, Moment: agenttest.Before}, cancel))
	if _, err := newService(t, c).Create(ctx, spec); err == nil {
		t.Fatal("it was made")
	}
	c.Fail(nil)
}

// A volume that is not marked yet is known by its bricks; while one of their nodes
// is away it is nobody's for certain.
func TestUnmarkedVolumeWhileANodeIsAway(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	spec := testSpec(t, "pvc-1", volume.GiB)
	leaveUnmarked(t, c, spec)
	for _, state := range []agenttest.State{agenttest.AgentDown, agenttest.Off} {
		c.SetState("n2", state)
		if _, err := newService(t, c).Create(testContext(t), spec); !volume.Is(err, volume.Unavailable) || !strings.Contains(err.Error(), "n2") {
			t.Errorf("create: %v, want Unavailable naming n2", err)
		}
		if err := newService(t, c).Delete(testContext(t), spec.Handle()); !volume.Is(err, volume.Unavailable) {
			t.Errorf("delete: %v, want Unavailable", err)
		}
	}
	c.SetState("n2", agenttest.Up)
	mustCreate(t, newBackend(t, c), spec)
	wantOne(t, c, spec, volume.GiB)
}

// A deletion that comes while glusterd is still making the volume has removed some of
// its bricks. What is left is ours all the same: it is deleted, or made anew.
func TestUnmarkedVolumeThatLostBricks(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, c *agenttest.Cluster, spec volume.Spec){
		"delete": func(t *testing.T, c *agenttest.Cluster, spec volume.Spec) {
			t.Helper()
			if err := newService(t, c).Delete(testContext(t), spec.Handle()); err != nil {
				t.Error(err)
			}
			c.CheckEmpty(t)
		},
		"create": func(t *testing.T, c *agenttest.Cluster, spec volume.Spec) {
			t.Helper()
			if _, err := newService(t, c).Create(testContext(t), spec); !volume.Is(err, volume.Busy) {
				t.Errorf("got %v, want Busy: what is left cannot be started", err)
			}
			mustCreate(t, newBackend(t, c), spec)
			wantOne(t, c, spec, volume.GiB)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := agenttest.New(agenttest.Default(3))
			spec := testSpec(t, "pvc-1", volume.GiB)
			leaveUnmarked(t, c, spec)
			c.LoseBricks("pvc-1", "n3")
			end(t, c, spec)
		})
	}
}

// A node that lost its power in the middle of a creation has lost what glusterd
// wrote to its brick: what there is cannot be started, and is made anew.
func TestCreateWhereABrickLostItsMark(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	spec := testSpec(t, "pvc-1", volume.GiB)
	c.Fail(agenttest.FailTimes(agenttest.Call{Verb: agenttest.StartVolume, Moment: agenttest.Before}, 1,
		&gluster.Error{Reason: gluster.BrickMissing, Command: "volume start pvc-1", Text: "Failed to get extended attribute trusted.glusterfs.volume-id"}))
	if _, err := newService(t, c).Create(testContext(t), spec); !volume.Is(err, volume.Busy) {
		t.Errorf("got %v, want Busy", err)
	}
	c.CheckEmpty(t)
	if _, err := newService(t, c).Create(testContext(t), spec); err != nil {
		t.Error(err)
	}
	wantOne(t, c, spec, volume.GiB)
}

// A node that comes back while the volume is being started takes it for stopped,
// and has its state refused to all: whoever is asked first, the next call ends
// with every brick online, or health says what is wrong.
func TestCreateWhereANodeMissedTheStart(t *testing.T) {
	for _, node := range []string{"n1", "n2", "n3"} {
		t.Run(node, func(t *testing.T) {
			c := agenttest.New(agenttest.Default(3))
			spec := testSpec(t, "pvc-1", volume.GiB)
			c.Fail(agenttest.Do(agenttest.Call{Verb: agenttest.VolumeStatus, Moment: agenttest.Before}, func() { c.MissStart(node, "pvc-1") }))
			v := mustCreate(t, newBackend(t, c), spec)
			c.Fail(nil)
			if health, err := newBackend(t, c).Health(testContext(t), v.Handle); err != nil || len(health.Problems) > 0 {
				t.Errorf("health is %+v, %v", health, err)
			}

			c.MissStart(node, "pvc-1")
			c.Fail(agenttest.FailTimes(agenttest.Call{Verb: agenttest.VolumeStatus, Moment: agenttest.Before}, 1,
				&gluster.Error{Reason: gluster.Locked, Command: "volume status pvc-1", Text: "Another transaction is in progress"}))
			if _, err := newService(t, c).Create(testContext(t), spec); err != nil {
				t.Errorf("create again: %v", err)
			}
			c.Fail(nil)
			if health, err := newBackend(t, c).Health(testContext(t), v.Handle); err != nil || len(health.Problems) > 0 {
				t.Errorf("created again, health is %+v, %v", health, err)
			}
			c.MissStart(node, "pvc-1")
			if all, err := newBackend(t, c).List(testContext(t), "lab"); err != nil || len(all) != 1 {
				t.Errorf("listed %v, %v, want the volume", all, err)
			}
			health, err := newBackend(t, c).Health(testContext(t), v.Handle)
			if err != nil || len(health.Problems) == 0 || health.Problems[0].Kind != volume.BrickDown {
				t.Errorf("health is %+v, %v, want a brick that is down", health, err)
			}
			if err := newBackend(t, c).Undo(testContext(t), v.Handle); !volume.Is(err, volume.Precondition) {
				t.Errorf("undo of a volume that was handed out: %v, want Precondition", err)
			}
			if err := newService(t, c).Delete(testContext(t), spec.Handle()); err != nil {
				t.Errorf("delete: %v", err)
			}
			c.CheckEmpty(t)
		})
	}
}

// A node that comes back may bring the record of a volume that an earlier call
// had undone meanwhile. It holds nothing, wherever its bricks were to lie, and
// must not stand in the way of the next call for ever.
func TestCreateWhereARecordCameBack(t *testing.T) {
	for _, full := range []string{"n1", "n2", "n3", "n4", "n5"} {
		t.Run("more on "+full, func(t *testing.T) {
			c := agenttest.New(agenttest.Default(5))
			spec := testSpec(t, "pvc-1", volume.GiB)
			leaveUnmarked(t, c, spec)
			c.LoseBricks("pvc-1")
			if left := c.Leftovers(); len(left.Volumes) != 1 || len(left.Bricks) != 0 {
				t.Fatalf("no record without bricks:\n%s", left)
			}
			c.Fill(full, "root1", 10*volume.GiB) // so that the bricks' places or their order differ
			var err error
			for range 3 {
				if _, err = newService(t, c).Create(testContext(t), spec); err == nil || !volume.Is(err, volume.Busy) {
					break
				}
			}
			if err != nil {
				t.Fatalf("after three calls: %v", err)
			}
			wantOne(t, c, spec, volume.GiB)
		})
	}
}

// A record whose directories are another pool's is that pool's, wherever ours lie.
func TestCreateWhereAnotherPoolMakesThatVolume(t *testing.T) {
	c := agenttest.New(agenttest.Default(6))
	spec := testSpec(t, "pvc-1", volume.GiB)
	leaveUnmarked(t, c, spec)
	record, err := c.Nodes()[0].Volume(t.Context(), "pvc-1")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, k := range record.Bricks {
		there[k.Host] = true
	}
	for _, n := range c.Config().Nodes {
		if there[n.Address] {
			c.Fill(n.Name, "root1", 10*volume.GiB)
			c.ForgeMark(n.Name, brick.Ref{Root: "root1", Volume: "pvc-1"}, "bl1.plain.other.pvc-1")
		}
	}
	b := newBackend(t, c)
	p := spec.Parameters
	pl := &plan{spec: spec, handle: spec.Handle(), marks: mark.Volume{
		Handle: spec.Handle(), Size: volume.GiB, Type: p.Type, Fingerprint: p.Fingerprint(), GID: volume.MinGID, Enforce: p.Quota, OnDelete: p.OnDelete,
	}}
	// Create itself would see the other pool's directories first, unless they are
	// made while it works.
	f := &found{survey: b.ask(t.Context(), "pvc-1", true)}
	if _, err := b.choosePlaces(pl, f.survey); err != nil {
		t.Fatal(err)
	}
	if err := b.makeBricks(t.Context(), pl); err != nil {
		t.Fatal(err)
	}
	if err := b.makeVolume(t.Context(), pl, f); !volume.Is(err, volume.Exists) {
		t.Errorf("got %v, want Exists", err)
	}
	if left := c.Leftovers(); len(left.Volumes) != 1 || len(left.Bricks) != 3 {
		t.Errorf("the other pool's volume is gone:\n%s", left)
	}
}

// The same record below a directory that is no root of ours is a stranger's.
func TestCreateWhereAStrangersVolumeHasNoDirectories(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	c.AddForeignVolume("pvc-1", gluster.Brick{Host: "10.90.0.11", Path: agent.BrickPath("/srv", "pvc-1")})
	if _, err := newService(t, c).Create(testContext(t), testSpec(t, "pvc-1", volume.GiB)); !volume.Is(err, volume.Exists) {
		t.Errorf("got %v, want Exists", err)
	}
	if left := c.Leftovers(); len(left.Volumes) != 1 {
		t.Errorf("the stranger's volume is gone:\n%s", left)
	}
}

// A node that comes back while the volume is being stopped still runs it, and
// refuses the deletion: the call may be repeated, and then ends it.
func TestDeleteWhereANodeMissedTheStop(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	spec := testSpec(t, "pvc-1", volume.GiB)
	mustCreate(t, newBackend(t, c), spec)
	c.Fail(agenttest.FailTimes(agenttest.Call{Verb: agenttest.StopVolume, Moment: agenttest.Before}, 1,
		&gluster.Error{Reason: gluster.NotStarted, Command: "volume stop pvc-1", Text: "Staging failed on n2"}))
	if err := newService(t, c).Delete(testContext(t), spec.Handle()); !volume.Is(err, volume.Busy) {
		t.Errorf("got %v, want Busy", err)
	}
	if err := newService(t, c).Delete(testContext(t), spec.Handle()); err != nil {
		t.Error(err)
	}
	c.CheckEmpty(t)
}

func TestRetainAndArchive(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	s := newService(t, c)
	kept := testSpec(t, "kept", volume.GiB, "onDelete", "retain")
	mustCreate(t, newBackend(t, c), kept)
	for range 2 {
		if err := s.Delete(testContext(t), kept.Handle()); err != nil {
			t.Fatalf("delete a retained volume: %v", err)
		}
	}
	if left := c.Leftovers(); len(left.Volumes) != 1 || len(left.Bricks) != 3 {
		t.Errorf("retain removed something:\n%s", left)
	}
	if _, err := s.Get(testContext(t), kept.Handle()); !volume.Is(err, volume.NotFound) {
		t.Errorf("a released volume is still ours: %v", err)
	}
	if _, err := s.Create(testContext(t), kept); !volume.Is(err, volume.Exists) {
		t.Errorf("a released volume was handed out again: %v", err)
	}
	if all, err := s.List(testContext(t)); err != nil || len(all) != 0 {
		t.Errorf("listed %v, %v", all, err)
	}
	old := testSpec(t, "old", volume.GiB, "onDelete", "archive")
	mustCreate(t, newBackend(t, c), old)
	if err := s.Delete(testContext(t), old.Handle()); err != nil {
		t.Fatal(err)
	}
	if left := c.Leftovers(); len(left.Archive) != 3 || len(left.Volumes) != 1 {
		t.Errorf("archive:\n%s", left)
	}
}

func TestHealthNamesWhatIsWrong(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB)
	ref := brick.Ref{Root: "root1", Volume: "pvc-1"}
	tests := []struct {
		name    string
		trouble func(c *agenttest.Cluster)
		want    volume.ProblemKind
		says    string
	}{
		{"brick killed", func(c *agenttest.Cluster) { c.KillBrick("n1", ref) }, volume.BrickDown, "10.90.0.11"},
		{"two bricks killed", func(c *agenttest.Cluster) { c.KillBrick("n1", ref); c.KillBrick("n2", ref) }, volume.QuorumLost, "cannot write"},
		{"heal pending", func(c *agenttest.Cluster) { c.SetHeal("n2", ref, 7, 0) }, volume.HealPending, "7 entries"},
		{"split-brain", func(c *agenttest.Cluster) { c.SetHeal("n2", ref, 0, 1) }, volume.SplitBrain, "1 entries"},
		{"wiped and healed", func(c *agenttest.Cluster) { c.WipeBrick("n3", ref) }, volume.QuotaMissing, "10.90.0.13"},
		{"full", func(c *agenttest.Cluster) { c.SetUsed("n1", ref, volume.GiB-1, 10) }, volume.NearlyFull, "10.90.0.11"},
		{"node off", func(c *agenttest.Cluster) { c.SetState("n1", agenttest.Off) }, volume.Unknown, "n1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := agenttest.New(agenttest.Default(3))
			b := newBackend(t, c)
			mustCreate(t, b, spec)
			test.trouble(c)
			h, err := b.Health(testContext(t), spec.Handle())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range h.Problems {
				if p.Kind == test.want && strings.Contains(p.Detail, test.says) {
					return
				}
			}
			t.Errorf("problems %+v hold no %s that says %q", h.Problems, test.want, test.says)
		})
	}
}

func TestGIDsAreTheirOwnAndRunOut(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	narrow := []string{"gidMin", "5000", "gidMax", "5002"}
	seen := map[int]bool{}
	for _, name := range []string{"a", "b", "c"} {
		v := mustCreate(t, newBackend(t, c), testSpec(t, name, volume.GiB, narrow...)) // a new controller each time
		if seen[v.GID] || v.GID < 5000 || v.GID > 5002 {
			t.Errorf("%s got gid %d", name, v.GID)
		}
		seen[v.GID] = true
	}
	_, err := newService(t, c).Create(testContext(t), testSpec(t, "d", volume.GiB, narrow...))
	if !volume.Is(err, volume.Exhausted) || !strings.Contains(err.Error(), "gidMax") {
		t.Errorf("got %v, want Exhausted naming gidMax", err)
	}
}
