package agenttest_test

import (
	"context"
	"testing"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// makeVolume makes a volume on all nodes of a default cluster, started.
func makeVolume(ctx context.Context, t *testing.T, nodes []agent.Node, name string) {
	t.Helper()
	r := gluster.CreateRequest{Name: name, Replica: len(nodes)}
	m := brick.Mark{
		Handle: "bl1.plain.lab." + name, Size: volume.GiB, Type: volume.Type{Durability: volume.Replicate, Replicas: len(nodes)}.String(),
		Fingerprint: "0123456789abcdef", GID: 2000,
	}
	for _, n := range nodes {
		m.Layout = append(m.Layout, brick.Place{Node: n.(*agenttest.Node).Name(), Root: "root1"})
	}
	for i, n := range nodes {
		b, err := n.MakeBrick(ctx, brick.MakeRequest{
			Ref: brick.Ref{Root: "root1", Volume: name}, Mark: m, Quota: brick.Quota{Bytes: volume.GiB}, Enforce: true, Mode: 0o2775,
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Bricks = append(r.Bricks, gluster.Brick{Host: agenttest.Default(len(nodes)).Nodes[i].Address, Path: b.Path})
	}
	if err := nodes[0].CreateVolume(ctx, r); err != nil {
		t.Fatal(err)
	}
	if err := nodes[0].StartVolume(ctx, name); err != nil {
		t.Fatal(err)
	}
}

func TestFaults(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	nodes := c.Nodes()
	makeVolume(t.Context(), t, nodes, "a")

	t.Run("lost answer", func(t *testing.T) {
		c.Fail(agenttest.LoseAnswer(agenttest.Call{Verb: agenttest.StopVolume}))
		defer c.Fail(nil)
		if err := nodes[1].StopVolume(t.Context(), "a"); !volume.Is(err, volume.Unavailable) {
			t.Fatalf("got %v, want Unavailable", err)
		}
		if v, err := nodes[1].Volume(t.Context(), "a"); err != nil || v.Status != gluster.StatusStopped {
			t.Fatalf("got %v %v, want it stopped", v, err)
		}
		if err := nodes[1].StartVolume(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("caller dies after step", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c.Fail(agenttest.Do(agenttest.Call{Verb: agenttest.SetQuota, Moment: agenttest.After}, cancel))
		defer c.Fail(nil)
		ref := brick.Ref{Root: "root1", Volume: "a"}
		if _, err := nodes[0].SetQuota(ctx, ref, brick.Quota{Bytes: 2 * volume.GiB}); !volume.Is(err, volume.Unavailable) {
			t.Fatalf("got %v, want Unavailable", err)
		}
		b, err := nodes[0].Bricks(t.Context(), "a")
		if err != nil || len(b) != 1 || b[0].Quota.Bytes != 2*volume.GiB {
			t.Fatalf("got %v %v, want the new quota", b, err)
		}
	})
	t.Run("create half done", func(t *testing.T) {
		makeVolume(t.Context(), t, nodes, "b")
		v, _ := nodes[0].Volume(t.Context(), "b")
		remove(t, nodes, "b")
		makeBricksOnly(t, nodes, "b")
		c.Fail(agenttest.FailTimes(agenttest.Call{Verb: agenttest.CreateVolume, Moment: agenttest.During}, 1, nil))
		defer c.Fail(nil)
		r := gluster.CreateRequest{Name: "b", Replica: 3, Bricks: v.Bricks}
		if err := nodes[0].CreateVolume(t.Context(), r); !volume.Is(err, volume.Unavailable) {
			t.Fatalf("got %v, want Unavailable", err)
		}
		if err := nodes[0].CreateVolume(t.Context(), r); !hasReason(err, gluster.BrickInUse) {
			t.Fatalf("got %v, want BrickInUse", err)
		}
		for _, n := range nodes {
			if err := n.RemoveBrick(t.Context(), brick.RemoveRequest{Ref: brick.Ref{Root: "root1", Volume: "b"}, Mode: brick.ToTrash}); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("two at once", func(t *testing.T) {
		var inner error
		c.Fail(agenttest.Do(agenttest.Call{Verb: agenttest.StopVolume, Moment: agenttest.During}, func() {
			inner = nodes[2].SetOptions(t.Context(), "a", []gluster.Option{{Key: "auth.allow", Value: "*"}})
		}))
		defer c.Fail(nil)
		if err := nodes[0].StopVolume(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if !hasReason(inner, gluster.Locked) || !volume.Is(inner, volume.Busy) {
			t.Fatalf("got %v, want Locked", inner)
		}
		if err := nodes[0].StartVolume(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("states", func(t *testing.T) {
		c.SetState("n3", agenttest.Off)
		if _, err := nodes[2].Peers(t.Context()); !volume.Is(err, volume.Unavailable) {
			t.Fatalf("got %v, want Unavailable", err)
		}
		s, err := nodes[0].VolumeStatus(t.Context(), "a")
		if err != nil || s[2].Online || !s[1].Online {
			t.Fatalf("got %v %v, want only the last brick offline", s, err)
		}
		c.SetState("n3", agenttest.GlusterdDown)
		if err := nodes[2].StartVolume(t.Context(), "a"); !hasReason(err, gluster.DaemonDown) {
			t.Fatalf("got %v, want DaemonDown", err)
		}
		c.SetState("n3", agenttest.Up)
		c.SetMounted("n3", "root1", false)
		if _, err := nodes[2].Bricks(t.Context(), ""); !volume.Is(err, volume.Precondition) {
			t.Fatalf("got %v, want Precondition", err)
		}
		c.SetMounted("n3", "root1", true)
	})
	remove(t, nodes, "a")
	c.CheckEmpty(t)
}

func makeBricksOnly(t *testing.T, nodes []agent.Node, name string) {
	t.Helper()
	makeVolume(t.Context(), t, nodes, name)
	if err := nodes[0].StopVolume(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := nodes[0].DeleteVolume(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	// A fresh directory, as that of the deleted volume carries its ID.
	for _, n := range nodes {
		bs, err := n.Bricks(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bs {
			if err := n.RemoveBrick(t.Context(), brick.RemoveRequest{Ref: b.Ref, Mode: brick.ToTrash}); err != nil {
				t.Fatal(err)
			}
			if _, err := n.MakeBrick(t.Context(), brick.MakeRequest{Ref: b.Ref, Mark: b.Mark, Quota: b.Quota, Enforce: true, Mode: 0o2775}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func remove(t *testing.T, nodes []agent.Node, name string) {
	t.Helper()
	if err := nodes[0].StopVolume(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := nodes[0].DeleteVolume(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if err := n.RemoveBrick(t.Context(), brick.RemoveRequest{Ref: brick.Ref{Root: "root1", Volume: name}, Mode: brick.ToTrash}); err != nil {
			t.Fatal(err)
		}
	}
}
