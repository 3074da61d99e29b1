package agenttest

import (
	"context"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

func (s *suite) describe() {
	for _, n := range s.nodes {
		d, err := n.Describe(s.Context())
		s.must("describe", err)
		if d.Node != n.Name || d.Pool != n.Pool || d.Protocol != agent.Protocol {
			s.Errorf("got node %q of pool %q, protocol %d; want %q of %q, %d", d.Node, d.Pool, d.Protocol, n.Name, n.Pool, agent.Protocol)
		}
		if !d.GlusterdReady || d.MemoryTotal <= 0 || d.MemoryAvailable <= 0 || d.MemoryAvailable > d.MemoryTotal {
			s.Errorf("node %s: glusterd ready %t, memory %d of %d", n.Name, d.GlusterdReady, d.MemoryAvailable, d.MemoryTotal)
		}
		if d.Clock.IsZero() || !d.CertificateExpires.After(d.Clock) || d.CertificateExpires.Sub(d.Clock) > 10*366*24*time.Hour {
			s.Errorf("node %s: clock %v, certificate expires %v", n.Name, d.Clock, d.CertificateExpires)
		}
		found := false
		for _, r := range d.Roots {
			if r.Name != n.Root {
				continue
			}
			found = true
			if r.Problem != "" || r.ID == "" || r.FileSystem != "xfs" || !r.Quota || r.Total <= 0 || r.Free <= 0 || r.Free > r.Total || r.Available <= 0 {
				s.Errorf("node %s: root %+v", n.Name, r)
			}
		}
		if !found {
			s.Errorf("node %s: root %s is not described: %+v", n.Name, n.Root, d.Roots)
		}
		s.await("the version of Gluster is known", func() error {
			d, err := n.Describe(s.Context())
			if err == nil && d.GlusterVersion == "" {
				return errNothing
			}
			return err
		})
	}
}

func (s *suite) peers() {
	for _, n := range s.nodes {
		peers, err := n.Peers(s.Context())
		s.must("list peers", err)
		if len(peers) < len(s.nodes) {
			s.Errorf("node %s knows %d peers, want %d with itself", n.Name, len(peers), len(s.nodes))
		}
		seen := map[string]bool{}
		for _, p := range peers {
			if !p.Connected || p.UUID == "" || p.Hostname == "" || seen[p.UUID] {
				s.Errorf("node %s: peer %+v", n.Name, p)
			}
			seen[p.UUID] = true
		}
		for _, other := range s.nodes {
			s.must("probe "+other.Name+", which is a peer or the node itself", n.ProbePeer(s.Context(), other.Address))
		}
		after, err := n.Peers(s.Context())
		s.must("list peers", err)
		if len(after) != len(peers) {
			s.Errorf("node %s knows %d peers, and after probes of peers %d", n.Name, len(peers), len(after))
		}
		for _, bad := range []string{"", "-x", "--mode=interactive", "a b", "a\nb", "n2/x", "localhost", "127.0.0.1", "::1", "0.0.0.0", "fe80::1%eth0", "n1;reboot"} {
			s.wantKind(n, "probe "+bad, n.ProbePeer(s.Context(), bad), volume.Invalid)
		}
	}
}

// initRoot is about roots that are brick roots already: a real node has no other.
func (s *suite) initRoot() {
	n := s.nodes[0]
	before, err := n.Describe(s.Context())
	s.must("describe", err)
	s.must("init a root that is one", n.InitRoot(s.Context(), n.Root))
	after, err := n.Describe(s.Context())
	s.must("describe", err)
	for i, r := range after.Roots {
		if r.Blank || r.ID == "" || r.ID != before.Roots[i].ID {
			s.Errorf("root %+v, before %+v", r, before.Roots[i])
		}
	}
	for _, bad := range []string{"", "elsewhere", "../" + n.Root, "-x", "/"} {
		s.wantKind(n, "init root "+bad, n.InitRoot(s.Context(), bad), volume.NotFound)
	}
}

func (s *suite) policy() {
	n := s.nodes[0]
	state := func() (brick.Policy, brick.RootState) {
		d, err := n.Describe(s.Context())
		s.must("describe", err)
		for _, r := range d.Roots {
			if r.Name == n.Root {
				return d.Policy, r
			}
		}
		s.Fatalf("no root %s in %+v", n.Root, d.Roots)
		return brick.Policy{}, brick.RootState{}
	}
	own, before := state()
	defer func() {
		s.must("set the policy back", n.SetPolicy(s.Context(), own))
		// Not as much as before: trash of other tests may be gone meanwhile.
		most := before.Total / 100 * volume.Size(max(own.OvercommitPercent, brick.DefaultOvercommitPercent))
		if told, r := state(); told != own || r.Available > most {
			s.Errorf("set back: %+v with %v available; before %+v, which allows %v", told, r.Available, own, most)
		}
	}()
	want := brick.Policy{OvercommitPercent: 400, TrashEntriesPerSecond: 500}
	s.must("set a policy", n.SetPolicy(s.Context(), want))
	for range 2 {
		if told, r := state(); told != want || r.Available < before.Available+before.Total*2 {
			s.Errorf("%+v with %v of %v available, before %v", told, r.Available, r.Total, before.Available)
		}
		s.wantKind(n, "overcommit too much", n.SetPolicy(s.Context(), brick.Policy{OvercommitPercent: brick.MaxOvercommitPercent + 1}), volume.Invalid)
		s.wantKind(n, "a negative pace", n.SetPolicy(s.Context(), brick.Policy{TrashEntriesPerSecond: -1}), volume.Invalid)
	}
	_, r := s.request(s.volumeName(""), mustParse(s, ""), 0)
	r.Quota.Bytes = before.Total + before.Total/2
	_, err := n.MakeBrick(s.Context(), r)
	s.must("make a brick larger than its root", err)
	s.must("remove it", n.RemoveBrick(s.Context(), brick.RemoveRequest{Ref: r.Ref, Mode: brick.ToTrash}))
}

func (s *suite) brickLifecycle() {
	n, r := s.request(s.volumeName(""), mustParse(s, ""), 0)
	made, err := n.MakeBrick(s.Context(), r)
	s.must("make brick", err)
	if made.Ref != r.Ref || made.Path == "" || made.Quota.Bytes != size || made.ProjectID == 0 {
		s.Errorf("made %+v", made)
	}
	if diff := cmp.Diff(r.Mark, made.Mark); diff != "" {
		s.Errorf("mark (-want +got):\n%s", diff)
	}
	again, err := n.MakeBrick(s.Context(), r)
	s.must("make the same brick again", err)
	if again.Path != made.Path || again.ProjectID != made.ProjectID {
		s.Errorf("made again: %+v, first %+v", again, made)
	}
	for _, name := range []string{r.Ref.Volume, ""} {
		all, err := n.Bricks(s.Context(), name)
		s.must("list bricks", err)
		found := 0
		for _, b := range all {
			if b.Ref == r.Ref && b.Path == made.Path && b.Quota == made.Quota && cmp.Equal(b.Mark, r.Mark) {
				found++
			}
		}
		if found != 1 || name != "" && len(all) != 1 {
			s.Errorf("bricks of %q: %+v, want one of %+v", name, all, r.Ref)
		}
	}
	s.must("describe", s.eachRoot(func(key string, st brick.RootState) error {
		if key == n.Name+"/"+n.Root && st.Committed-s.before[key] != size {
			s.Errorf("%d bytes more are committed, want %d", st.Committed-s.before[key], size)
		}
		return nil
	}))
	for _, what := range []string{"remove", "remove again"} {
		s.must(what, n.RemoveBrick(s.Context(), brick.RemoveRequest{Ref: r.Ref, Mode: brick.ToTrash}))
	}
	other, err := n.MakeBrick(s.Context(), r)
	s.must("make after removal", err)
	if other.Used > volume.MiB {
		s.Errorf("a new brick of that name holds %v", other.Used)
	}
}

func (s *suite) brickOfAnotherMark() {
	n, r := s.request(s.volumeName(""), mustParse(s, ""), 0)
	_, err := n.MakeBrick(s.Context(), r)
	s.must("make brick", err)
	for _, change := range []func(*brick.Mark){
		func(m *brick.Mark) { m.Size *= 2 },
		func(m *brick.Mark) { m.Fingerprint = "fedcba9876543210" },
		func(m *brick.Mark) { m.GID++ },
		func(m *brick.Mark) { m.Layout[1], m.Layout[2] = m.Layout[2], m.Layout[1] },
	} {
		_, other := s.request(r.Ref.Volume, mustParse(s, ""), 0)
		change(&other.Mark)
		_, err = n.MakeBrick(s.Context(), other)
		s.wantKind(n, "make a brick of another mark", err, volume.Exists)
	}
}

func (s *suite) brickAtOnce() {
	n, r := s.request(s.volumeName(""), mustParse(s, ""), 0)
	const callers = 8
	made := make([]brick.Brick, callers)
	errs := make([]error, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() { made[i], errs[i] = n.MakeBrick(s.Context(), r) })
	}
	all.Wait()
	for i := range callers {
		s.must("make brick", errs[i])
		if made[i].ProjectID != made[0].ProjectID || made[i].Path != made[0].Path {
			s.Errorf("caller %d got %+v, the first %+v", i, made[i], made[0])
		}
	}
}

func (s *suite) brickTooLarge() {
	n, r := s.request(s.volumeName(""), mustParse(s, ""), 0)
	r.Quota.Bytes = volume.MaxSize
	_, err := n.MakeBrick(s.Context(), r)
	s.wantKind(n, "make a brick larger than its root", err, volume.Exhausted)
	if all, err := n.Bricks(s.Context(), r.Ref.Volume); err != nil || len(all) != 0 {
		s.Errorf("it left %v, %v", all, err)
	}
}

func (s *suite) brickQuota() {
	n, r := s.request(s.volumeName(""), mustParse(s, ""), 0)
	_, err := n.SetQuota(s.Context(), r.Ref, r.Quota)
	s.wantKind(n, "set the quota of no brick", err, volume.NotFound)
	_, err = n.MakeBrick(s.Context(), r)
	s.must("make brick", err)
	for _, want := range []brick.Quota{{Bytes: 2 * size, Inodes: 100000}, {Bytes: 2 * size}, {Bytes: size}} {
		b, err := n.SetQuota(s.Context(), r.Ref, want)
		s.must("set quota", err)
		if b.Quota != want {
			s.Errorf("got quota %+v, want %+v", b.Quota, want)
		}
	}
	_, err = n.SetQuota(s.Context(), r.Ref, brick.Quota{Bytes: volume.MaxSize})
	s.wantKind(n, "set a quota beyond the root", err, volume.Exhausted)
	all, err := n.Bricks(s.Context(), r.Ref.Volume)
	s.must("list bricks", err)
	if len(all) != 1 || all[0].Quota.Bytes != size {
		s.Errorf("after a refused quota: %+v", all)
	}
	_, err = n.MakeBrick(s.Context(), r)
	s.must("make the same brick after its quota was changed", err)
}

func (s *suite) endedContext() {
	n, r := s.request(s.volumeName(""), mustParse(s, ""), 0)
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	_, err := n.MakeBrick(ctx, r)
	s.wantKind(n, "make a brick for a caller that has gone", err, volume.Unavailable)
	err = n.StartVolume(ctx, r.Ref.Volume)
	s.wantKind(n, "start a volume for a caller that has gone", err, volume.Unavailable)
	if all, err := n.Bricks(s.Context(), r.Ref.Volume); err != nil || len(all) != 0 {
		s.Errorf("it left %v, %v", all, err)
	}
}

// badRequests are what nobody of ours would send. Nothing may be made of them.
func (s *suite) badRequests() {
	ctx, n := s.Context(), s.nodes[0]
	name := s.volumeName("")
	for what, spoil := range map[string]func(*brick.MakeRequest){
		"volume with a slash":         func(r *brick.MakeRequest) { r.Ref.Volume = "../" + name },
		"volume that is not UTF-8":    func(r *brick.MakeRequest) { r.Ref.Volume = "\xff" },
		"no volume":                   func(r *brick.MakeRequest) { r.Ref.Volume = "" },
		"another volume's handle":     func(r *brick.MakeRequest) { r.Mark.Handle = "bl1.plain." + n.Pool + ".other" },
		"another pool's handle":       func(r *brick.MakeRequest) { r.Mark.Handle = "bl1.plain.other." + name },
		"no handle":                   func(r *brick.MakeRequest) { r.Mark.Handle = "" },
		"negative size":               func(r *brick.MakeRequest) { r.Mark.Size = -1 },
		"negative quota":              func(r *brick.MakeRequest) { r.Quota.Bytes = -1 },
		"quota near 2^63":             func(r *brick.MakeRequest) { r.Quota.Bytes = 1<<63 - 1 },
		"no quota, but enforced":      func(r *brick.MakeRequest) { r.Quota.Bytes = 0 },
		"negative inodes":             func(r *brick.MakeRequest) { r.Quota.Inodes = -1 },
		"unknown type":                func(r *brick.MakeRequest) { r.Mark.Type = "raid0" },
		"fingerprint with a newline":  func(r *brick.MakeRequest) { r.Mark.Fingerprint = "0123456789abcde\n" },
		"negative group":              func(r *brick.MakeRequest) { r.Mark.GID = -1 },
		"mode with a file type":       func(r *brick.MakeRequest) { r.Mode = 0o100644 },
		"layout without this node":    func(r *brick.MakeRequest) { r.Mark.Layout[0].Node = "elsewhere" },
		"layout of too few":           func(r *brick.MakeRequest) { r.Mark.Layout = r.Mark.Layout[:1] },
		"layout with a path in it":    func(r *brick.MakeRequest) { r.Mark.Layout[1].Root = "../x" },
		"layout that goes on forever": func(r *brick.MakeRequest) { r.Mark.Layout = make([]brick.Place, 1000) },
	} {
		_, r := s.request(name, mustParse(s, ""), 0)
		spoil(&r)
		_, err := n.MakeBrick(ctx, r)
		s.wantKind(n, what, err, volume.Invalid)
	}
	_, r := s.request(name, mustParse(s, ""), 0)
	r.Ref.Root = "elsewhere"
	_, err := n.MakeBrick(ctx, r)
	s.wantKind(n, "unknown root", err, volume.NotFound)
	s.wantKind(n, "unknown mode of removal", n.RemoveBrick(ctx, brick.RemoveRequest{Ref: brick.Ref{Root: n.Root, Volume: name}, Mode: "burn"}), volume.Invalid)
	s.wantKind(n, "removal above the root", n.RemoveBrick(ctx, brick.RemoveRequest{Ref: brick.Ref{Root: n.Root, Volume: "../.."}, Mode: brick.ToTrash}), volume.Invalid)
	s.badVolumes(ctx, n, name)
	if all, err := n.Bricks(ctx, name); err != nil || len(all) != 0 {
		s.Errorf("they left %v, %v", all, err)
	}
}

func (s *suite) badVolumes(ctx context.Context, n Member, name string) {
	path := "/bricks/root1/volumes/" + name + "/brick"
	for what, r := range map[string]gluster.CreateRequest{
		"name that is a flag":        {Name: "--remote-host=x", Bricks: []gluster.Brick{{Host: n.Address, Path: path}}},
		"name that means all":        {Name: "all", Bricks: []gluster.Brick{{Host: n.Address, Path: path}}},
		"no bricks":                  {Name: name},
		"a path outside":             {Name: name, Bricks: []gluster.Brick{{Host: n.Address, Path: "/etc"}}},
		"another volume's path":      {Name: name, Bricks: []gluster.Brick{{Host: n.Address, Path: "/bricks/root1/volumes/other/brick"}}},
		"a path that climbs":         {Name: name, Bricks: []gluster.Brick{{Host: n.Address, Path: "/bricks/../volumes/" + name + "/brick"}}},
		"a host that is a flag":      {Name: name, Bricks: []gluster.Brick{{Host: "-x", Path: path}}},
		"a brick twice":              {Name: name, Replica: 2, Bricks: []gluster.Brick{{Host: n.Address, Path: path}, {Host: n.Address, Path: path}}},
		"replica that does not fit":  {Name: name, Replica: 3, Bricks: []gluster.Brick{{Host: n.Address, Path: path}}},
		"redundancy that is too big": {Name: name, Disperse: 1, Redundancy: 1, Bricks: []gluster.Brick{{Host: n.Address, Path: path}}},
	} {
		s.wantKind(n, what, n.CreateVolume(ctx, r), volume.Invalid)
	}
	for _, bad := range []string{"", "a b", "-x", "a\nb", "all", "help", "A"} {
		s.wantKind(n, "start "+bad, n.StartVolume(ctx, bad), volume.Invalid)
		s.wantKind(n, "delete "+bad, n.DeleteVolume(ctx, bad), volume.Invalid)
		_, err := n.Volume(ctx, bad)
		s.wantKind(n, "find "+bad, err, volume.Invalid)
	}
	for _, bad := range []gluster.Option{{Key: "", Value: "x"}, {Key: "noDot", Value: "x"}, {Key: "-a.b", Value: "x"}, {Key: "a.b", Value: ""}, {Key: "a.b", Value: "x y"}, {Key: "a.b", Value: "x\ny"}, {Key: "a.b", Value: "-x"}} {
		s.wantKind(n, "option "+bad.Key, n.SetOptions(ctx, name, []gluster.Option{bad}), volume.Invalid)
	}
}
