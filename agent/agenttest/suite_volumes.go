package agenttest

import (
	"errors"
	"fmt"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

var errNothing = errors.New("nothing yet")

func (s *suite) volumeLifecycle() {
	ctx, name := s.Context(), s.volumeName("")
	a, b := s.nodes[0], s.nodes[1]
	_, err := a.Volume(ctx, name)
	s.wantReason(a, "find what is not there", err, gluster.NotFound)
	r := s.create(name, mustParse(s, "replicate:3"))
	v, err := b.Volume(ctx, name)
	s.must("find", err)
	if v.Name != name || v.ID == "" || v.Status != gluster.StatusCreated || v.Replica != 3 || len(v.Bricks) != 3 {
		s.Errorf("got %+v", v)
	}
	for i := range v.Bricks {
		if v.Bricks[i] != r.Bricks[i] {
			s.Errorf("brick %d is %v, want %v", i, v.Bricks[i], r.Bricks[i])
		}
	}
	s.must("start", b.StartVolume(ctx, name))
	for _, st := range s.awaitOnline(name, r.Bricks) {
		if st.PID <= 0 || st.SizeTotal != int64(size) || st.SizeFree <= 0 || st.SizeFree > st.SizeTotal {
			s.Errorf("status %+v, want a size of %d", st, size)
		}
	}
	s.await("bricks sign in for healing", func() error {
		heal, err := b.HealInfo(ctx, name)
		if err != nil {
			return err
		}
		for _, h := range heal {
			if !h.Connected || h.Pending != 0 || h.SplitBrain != 0 {
				return fmt.Errorf("%+v", h)
			}
		}
		if len(heal) != 3 {
			return fmt.Errorf("%d bricks", len(heal))
		}
		return nil
	})
	for i, n := range s.nodes[:3] {
		err := n.RemoveBrick(ctx, brick.RemoveRequest{Ref: brick.Ref{Root: n.Root, Volume: name}, Mode: brick.ToTrash})
		s.wantKind(n, fmt.Sprintf("remove brick %d in use", i), err, volume.Precondition)
		if d, err := n.Describe(ctx); err != nil || d.BrickProcesses < 1 || d.BrickMemory <= 0 {
			s.Errorf("node %s: %d brick processes with %d bytes, %v", n.Name, d.BrickProcesses, d.BrickMemory, err)
		}
	}
	all, err := b.Volumes(ctx)
	s.must("list volumes", err)
	found := 0
	for _, v := range all {
		if v.Name == name && v.Status == gluster.StatusStarted {
			found++
		}
	}
	if found != 1 {
		s.Errorf("%d volumes of that name are listed as started: %+v", found, all)
	}
	s.must("stop", b.StopVolume(ctx, name))
	s.must("delete", b.DeleteVolume(ctx, name))
}

func (s *suite) volumeTypes() {
	for i, text := range []string{"replicate:2", "replicate:3:arbiter:1", "disperse:2:1", "none"} {
		t := mustParse(s, text)
		name := s.volumeName(fmt.Sprintf("-%d", i))
		r := s.create(name, t)
		s.must("start "+text, s.nodes[0].StartVolume(s.Context(), name))
		s.awaitOnline(name, r.Bricks)
		v, err := s.nodes[2].Volume(s.Context(), name)
		s.must("find", err)
		if v.Replica != r.Replica || v.Arbiter != r.Arbiter || v.Disperse != r.Disperse || v.Redundancy != r.Redundancy {
			s.Errorf("%s: got %+v, want the counts of %+v", text, v, r)
		}
		for i, b := range v.Bricks {
			if b != r.Bricks[i] {
				s.Errorf("%s: brick %d is %+v, want %+v", text, i, b, r.Bricks[i])
			}
		}
	}
}

func (s *suite) volumeRefusals() {
	ctx, name := s.Context(), s.volumeName("")
	n := s.nodes[0]
	missing := gluster.CreateRequest{Name: name, Replica: 3}
	for _, m := range s.nodes[:3] {
		missing.Bricks = append(missing.Bricks, gluster.Brick{Host: m.Address, Path: "/bricks/nowhere/volumes/" + name + "/brick"})
	}
	s.wantReason(n, "create on bricks that are not there", n.CreateVolume(ctx, missing), gluster.BrickMissing)
	r := s.prepare(name, mustParse(s, "replicate:3"))
	stranger := r
	stranger.Bricks = append([]gluster.Brick{{Host: "192.0.2.1", Path: r.Bricks[0].Path}}, r.Bricks[1:]...)
	s.wantReason(n, "create on a host that is no peer", n.CreateVolume(ctx, stranger), gluster.PeerDown)

	s.wantReason(n, "start what is not there", n.StartVolume(ctx, name), gluster.NotFound)
	s.wantReason(n, "stop what is not there", n.StopVolume(ctx, name), gluster.NotFound)
	s.wantReason(n, "delete what is not there", n.DeleteVolume(ctx, name), gluster.NotFound)
	_, err := n.VolumeStatus(ctx, name)
	s.wantReason(n, "ask the status of what is not there", err, gluster.NotFound)

	s.must("create", n.CreateVolume(ctx, r))
	s.wantReason(n, "create again", n.CreateVolume(ctx, r), gluster.Exists)
	s.wantReason(n, "stop before it runs", n.StopVolume(ctx, name), gluster.NotStarted)
	_, err = n.VolumeStatus(ctx, name)
	s.wantReason(n, "ask the status before it runs", err, gluster.NotStarted)
	s.must("start", n.StartVolume(ctx, name))
	s.wantReason(n, "start again", n.StartVolume(ctx, name), gluster.AlreadyStarted)
	s.wantReason(n, "delete while it runs", n.DeleteVolume(ctx, name), gluster.NotStopped)
	s.must("stop", n.StopVolume(ctx, name))
	s.must("delete", n.DeleteVolume(ctx, name))
	s.wantReason(n, "create on used bricks", n.CreateVolume(ctx, r), gluster.BrickInUse)
}

func (s *suite) options() {
	ctx, name := s.Context(), s.volumeName("")
	n := s.nodes[0]
	set := []gluster.Option{
		{Key: "user.bricklayer.handle", Value: "bl1.plain.lab." + name},
		{Key: "user.bricklayer.size", Value: "67108864"},
		{Key: "user.bricklayer.type", Value: "replicate:3:arbiter:1"},
		{Key: "auth.allow", Value: "10.90.0.0/24"},
		{Key: "storage.reserve", Value: "0"},
		{Key: "performance.client-io-threads", Value: "off"},
	}
	s.wantReason(n, "set options of what is not there", n.SetOptions(ctx, name, set), gluster.NotFound)
	s.create(name, mustParse(s, "replicate:3"))
	s.must("set options", n.SetOptions(ctx, name, set))
	v, err := s.nodes[1].Volume(ctx, name)
	s.must("find", err)
	for _, o := range set {
		if v.Options[o.Key] != o.Value {
			s.Errorf("option %s is %q, want %q", o.Key, v.Options[o.Key], o.Value)
		}
	}
	s.wantReason(n, "set an option that does not exist", n.SetOptions(ctx, name, []gluster.Option{{Key: "cluster.no-such-thing", Value: "on"}}), gluster.BadOption)
	s.wantReason(n, "set a value that does not fit", n.SetOptions(ctx, name, []gluster.Option{{Key: "performance.client-io-threads", Value: "perhaps"}}), gluster.BadOption)
}
