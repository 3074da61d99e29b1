package agenttest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// Member is a node under test, with what a controller knows of it from its pool.
type Member struct {
	agent.Node
	Name, Pool, Address string
	// Root is a brick root with project quotas and a few GiB uncommitted.
	Root string
}

// Members returns the fake's nodes for TestNode.
func (c *Cluster) Members() []Member {
	var all []Member
	for _, n := range c.nodes {
		all = append(all, Member{Node: n, Name: n.cfg.Name, Pool: c.cfg.Pool, Address: n.cfg.Address, Root: n.roots[0].cfg.Name})
	}
	return all
}

// TestNode holds nodes to what agent.Node promises: the fake, the client with
// the server around the fake, and real agents alike. make returns at least
// three nodes of one cluster, all up. Each case removes what it made and then
// looks for what is left over.
func TestNode(t *testing.T, makeNodes func(t *testing.T) []Member) {
	for _, c := range []struct {
		name string
		run  func(*suite)
	}{
		{"Describe", (*suite).describe},
		{"Peers", (*suite).peers},
		{"BrickLifecycle", (*suite).brickLifecycle},
		{"BrickOfAnotherMark", (*suite).brickOfAnotherMark},
		{"BrickAtOnce", (*suite).brickAtOnce},
		{"InitRoot", (*suite).initRoot},
		{"Policy", (*suite).policy},
		{"BrickTooLarge", (*suite).brickTooLarge},
		{"BrickQuota", (*suite).brickQuota},
		{"BadRequests", (*suite).badRequests},
		{"EndedContext", (*suite).endedContext},
		{"VolumeLifecycle", (*suite).volumeLifecycle},
		{"VolumeTypes", (*suite).volumeTypes},
		{"VolumeRefusals", (*suite).volumeRefusals},
		{"Options", (*suite).options},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{T: t, nodes: makeNodes(t)}
			if len(s.nodes) < 3 {
				t.Fatalf("%d nodes; this needs three", len(s.nodes))
			}
			s.remember()
			c.run(s)
			s.clean()
		})
	}
}

// suite is one case with the nodes that it runs on.
type suite struct {
	*testing.T
	nodes   []Member
	volumes []string
	before  map[string]volume.Size // committed, by node and root
}

// awaitTimeout is how long what happens in the background may take: bricks
// that come online, trash that is emptied. Real nodes may be slow ones.
const awaitTimeout = 90 * time.Second

// await calls look until it returns nil.
func (s *suite) await(what string, look func() error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), awaitTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

func (s *suite) remember() {
	s.before = map[string]volume.Size{}
	s.must("describe", s.eachRoot(func(key string, r brick.RootState) error {
		s.before[key] = r.Committed
		return nil
	}))
}

// eachRoot calls f for every root of every node and returns its first error.
func (s *suite) eachRoot(f func(key string, r brick.RootState) error) error {
	for _, n := range s.nodes {
		d, err := n.Describe(s.Context())
		if err != nil {
			return err
		}
		for _, r := range d.Roots {
			if err := f(n.Name+"/"+r.Name, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// volumeName returns a name of a volume that clean removes.
func (s *suite) volumeName(suffix string) string {
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(s.Name()))
	if len(name) > 50 {
		name = name[len(name)-50:]
	}
	name = strings.Trim(name, "-") + suffix
	if !slices.Contains(s.volumes, name) {
		s.volumes = append(s.volumes, name)
	}
	return name
}

// clean removes every volume of the case and everything on the nodes that is
// theirs, then waits until no space is committed that was not before.
func (s *suite) clean() {
	s.Helper()
	for _, name := range s.volumes {
		s.removeVolume(name)
		for _, n := range s.nodes {
			s.removeBricks(n, name)
		}
	}
	s.await("committed space falls to what it was", func() error {
		return s.eachRoot(func(key string, r brick.RootState) error {
			if r.Committed != s.before[key] || r.Trash != 0 {
				return fmt.Errorf("%s: %d bytes are committed, %d before; %d in the trash", key, r.Committed, s.before[key], r.Trash)
			}
			return nil
		})
	})
}

func (s *suite) removeVolume(name string) {
	s.Helper()
	n := s.nodes[0]
	if err := n.StopVolume(s.Context(), name); err != nil && !refused(err, gluster.NotStarted, gluster.NotFound) {
		s.Errorf("stop %s: %v", name, err)
	}
	if err := n.DeleteVolume(s.Context(), name); err != nil && !refused(err, gluster.NotFound) {
		s.Errorf("delete %s: %v", name, err)
	}
	if _, err := n.Volume(s.Context(), name); !refused(err, gluster.NotFound) {
		s.Errorf("volume %s after its deletion: %v, want NotFound", name, err)
	}
}

func (s *suite) removeBricks(n Member, name string) {
	s.Helper()
	left, err := n.Bricks(s.Context(), name)
	if err != nil {
		s.Errorf("list bricks: %v", err)
	}
	for _, b := range left {
		if err := n.RemoveBrick(s.Context(), brick.RemoveRequest{Ref: b.Ref, Mode: brick.ToTrash}); err != nil {
			s.Errorf("remove brick: %v", err)
		}
	}
	if left, err := n.Bricks(s.Context(), name); err != nil || len(left) != 0 {
		s.Errorf("bricks of %s on %s after their removal: %v %v", name, n.Name, left, err)
	}
}

// refused reports whether glusterd refused for one of the reasons.
func refused(err error, reasons ...gluster.Reason) bool {
	var g *gluster.Error
	return errors.As(err, &g) && slices.Contains(reasons, g.Reason)
}

// wantKind fails the case unless err is of that kind and names the node.
func (s *suite) wantKind(n Member, what string, err error, kind volume.Kind) {
	s.Helper()
	if !volume.Is(err, kind) {
		s.Errorf("%s: got %v (%v), want kind %v", what, err, volume.KindOf(err), kind)
		return
	}
	if !strings.Contains(err.Error(), "node "+n.Name) {
		s.Errorf("%s: %q does not name node %s", what, err, n.Name)
	}
}

// wantReason is wantKind for what glusterd refused.
func (s *suite) wantReason(n Member, what string, err error, reason gluster.Reason) {
	s.Helper()
	if !refused(err, reason) {
		s.Errorf("%s: got %v, want reason %v", what, err, reason)
		return
	}
	s.wantKind(n, what, err, (&gluster.Error{Reason: reason}).ErrorKind())
}

func (s *suite) must(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

// size is small, so that a lab's roots hold the volumes of all cases.
const size = 64 * volume.MiB

// request returns a request for the brick at a position of a volume of that
// type, whose bricks lie on the nodes in turn.
func (s *suite) request(name string, t volume.Type, position int) (Member, brick.MakeRequest) {
	m := brick.Mark{
		Handle: volume.Handle{Backend: volume.Plain, Pool: s.nodes[0].Pool, Name: name}.String(),
		Size:   size, Type: t.String(), Fingerprint: "0123456789abcdef", GID: 2000,
	}
	for i := range t.Bricks() {
		m.Layout = append(m.Layout, brick.Place{Node: s.nodes[i].Name, Root: s.nodes[i].Root})
	}
	n := s.nodes[position]
	return n, brick.MakeRequest{
		Ref: brick.Ref{Root: n.Root, Volume: name}, Mark: m, Enforce: true, Mode: 0o2775,
		Quota: brick.Quota{Bytes: t.BrickQuota(position, size)},
	}
}

// create makes the bricks of a volume and the volume, not started.
func (s *suite) create(name string, t volume.Type) gluster.CreateRequest {
	s.Helper()
	r := s.prepare(name, t)
	s.must("create volume", s.nodes[0].CreateVolume(s.Context(), r))
	return r
}

// prepare makes the bricks of a volume and returns the request for the volume.
func (s *suite) prepare(name string, t volume.Type) gluster.CreateRequest {
	s.Helper()
	r := gluster.CreateRequest{Name: name}
	switch t.Durability {
	case volume.Replicate:
		r.Replica, r.Arbiter = t.Replicas, t.Arbiters
	case volume.Disperse:
		r.Disperse, r.Redundancy = t.Bricks(), t.Redundancy
	case volume.None:
	}
	for i := range t.Bricks() {
		n, req := s.request(name, t, i)
		b, err := n.MakeBrick(s.Context(), req)
		s.must("make brick", err)
		r.Bricks = append(r.Bricks, gluster.Brick{Host: n.Address, Path: b.Path, Arbiter: t.IsArbiter(i)})
	}
	return r
}

// awaitOnline waits until every brick of a started volume is online.
func (s *suite) awaitOnline(name string, bricks []gluster.Brick) []gluster.BrickStatus {
	s.Helper()
	var status []gluster.BrickStatus
	s.await("bricks of "+name+" come online", func() (err error) {
		if status, err = s.nodes[0].VolumeStatus(s.Context(), name); err != nil {
			return err
		}
		for _, b := range bricks {
			i := slices.IndexFunc(status, func(st gluster.BrickStatus) bool { return st.Brick.String() == b.String() })
			if i < 0 || !status[i].Online {
				return fmt.Errorf("%v is not online in %v", b, status)
			}
		}
		return nil
	})
	return status
}

// mustParse returns a type that is known to be right.
func mustParse(s *suite, text string) volume.Type {
	s.Helper()
	t, err := volume.ParseType(cmp.Or(text, "replicate:3"))
	s.must("parse type", err)
	return t
}
