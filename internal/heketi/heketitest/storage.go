package heketitest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/pause"
)

// storage is what is on the nodes.
type storage struct {
	volumes map[string]*gluster.Volume
	// lvs are the logical volumes, by the bricks that are on them (HOST:PATH).
	lvs map[string]bool
}

func newStorage() storage {
	return storage{volumes: map[string]*gluster.Volume{}, lvs: map[string]bool{}}
}

// uses reports whether a Gluster volume has that brick.
func (t storage) uses(brick string) bool {
	for _, v := range t.volumes {
		if slices.ContainsFunc(v.Bricks, func(k gluster.Brick) bool { return k.String() == brick }) {
			return true
		}
	}
	return false
}

// AddGlusterVolume puts a volume into Gluster of which heketi knows nothing.
func (s *Server) AddGlusterVolume(v gluster.Volume) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storage.volumes[v.Name] = &v
}

// RemoveGlusterVolume removes one behind heketi's back.
func (s *Server) RemoveGlusterVolume(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.storage.volumes, name)
}

// Leftovers lists everything that belongs to a volume, in heketi's database and
// on the nodes. Operations that run are waited for.
func (s *Server) Leftovers(ctx context.Context) ([]string, error) {
	for {
		s.mu.Lock()
		busy := len(s.tracked)
		left := s.leftovers()
		s.mu.Unlock()
		if busy == 0 {
			return left, nil
		}
		if err := pause.For(ctx, time.Millisecond); err != nil {
			return left, fmt.Errorf("%d operations still run: %w", busy, err)
		}
	}
}

func (s *Server) leftovers() []string {
	var left []string
	for id, v := range s.db.Volumes {
		left = append(left, fmt.Sprintf("heketi volume %s %s pending=%q", id, v.Info.Name, v.Pending.Id))
	}
	for id := range s.db.Bricks {
		left = append(left, "heketi brick "+id)
	}
	for id, o := range s.db.Operations {
		left = append(left, fmt.Sprintf("heketi operation %s type=%d status=%q", id, o.Type, o.Status))
	}
	for _, d := range s.db.Devices {
		if d.Info.Storage.Used != 0 || len(d.Bricks) > 0 {
			left = append(left, fmt.Sprintf("heketi device %s used=%d", d.Info.Name, d.Info.Storage.Used))
		}
	}
	for name := range s.storage.volumes {
		left = append(left, "gluster volume "+name)
	}
	for lv := range s.storage.lvs {
		left = append(left, "logical volume of "+lv)
	}
	slices.Sort(left)
	return left
}

// Gluster returns the Gluster cluster below, as an agent answers for it.
func (s *Server) Gluster() *Gluster { return &Gluster{s: s} }

// Gluster answers from the fake's nodes.
type Gluster struct {
	s *Server
	// Err, where it is set, is the answer to everything.
	Err error
	// Strange has the cluster be another one than that below heketi.
	Strange bool
	// Rebalancing is how often it refuses to stop a volume because of a rebalance.
	Rebalancing int
	// Down are bricks (HOST:PATH prefixes) that do not run.
	Down []string
}

// Peers returns the hosts of heketi's clusters; the first one answers.
func (g *Gluster) Peers(context.Context) ([]gluster.Peer, error) {
	if g.Err != nil {
		return nil, g.Err
	}
	var peers []gluster.Peer
	for _, c := range g.s.config.Clusters {
		for _, n := range c.Nodes {
			host := n.Host
			if g.Strange {
				host = "strange-" + host
			}
			peers = append(peers, gluster.Peer{UUID: host, Hostname: host, Names: []string{host}, Connected: true})
		}
	}
	return peers, nil
}

// Volume returns one volume as gluster volume info has it.
func (g *Gluster) Volume(_ context.Context, name string) (gluster.Volume, error) {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	v := g.s.storage.volumes[name]
	switch {
	case g.Err != nil:
		return gluster.Volume{}, g.Err
	case v == nil || g.Strange:
		return gluster.Volume{}, &gluster.Error{Reason: gluster.NotFound, Command: "volume info " + name, Text: "Volume " + name + " does not exist"}
	}
	out := *v
	out.Options = maps.Clone(v.Options)
	out.Bricks = slices.Clone(v.Bricks)
	return out, nil
}

// Volumes returns every volume.
func (g *Gluster) Volumes(ctx context.Context) ([]gluster.Volume, error) {
	g.s.mu.Lock()
	names := slices.Sorted(maps.Keys(g.s.storage.volumes))
	g.s.mu.Unlock()
	if g.Strange {
		names = nil
	}
	out := []gluster.Volume{}
	for _, name := range names {
		v, err := g.Volume(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, g.Err
}

// VolumeStatus returns the bricks' states.
func (g *Gluster) VolumeStatus(ctx context.Context, name string) ([]gluster.BrickStatus, error) {
	v, err := g.Volume(ctx, name)
	if err != nil {
		return nil, err
	}
	var out []gluster.BrickStatus
	for _, k := range v.Bricks {
		down := slices.ContainsFunc(g.Down, func(p string) bool { return strings.HasPrefix(k.String(), p) })
		out = append(out, gluster.BrickStatus{Brick: k, Online: !down, SizeTotal: 1 << 30, SizeFree: 1 << 29})
	}
	return out, nil
}

// StopVolume stops a volume.
func (g *Gluster) StopVolume(_ context.Context, name string) error {
	return g.with(name, func(v *gluster.Volume) error {
		if g.Rebalancing > 0 {
			g.Rebalancing--
			return &gluster.Error{Reason: gluster.Locked, Command: "volume stop " + name, Text: "rebalance session is in progress for the volume '" + name + "'"}
		}
		if v.Status != gluster.StatusStarted {
			return &gluster.Error{Reason: gluster.NotStarted, Command: "volume stop " + name, Text: "not started"}
		}
		v.Status = gluster.StatusStopped
		return nil
	})
}

// DeleteVolume removes a stopped volume.
func (g *Gluster) DeleteVolume(_ context.Context, name string) error {
	return g.with(name, func(v *gluster.Volume) error {
		if v.Status == gluster.StatusStarted {
			return &gluster.Error{Reason: gluster.NotStopped, Command: "volume delete " + name, Text: "has been started"}
		}
		delete(g.s.storage.volumes, name)
		return nil
	})
}

func (g *Gluster) with(name string, do func(v *gluster.Volume) error) error {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	v := g.s.storage.volumes[name]
	switch {
	case g.Err != nil:
		return g.Err
	case v == nil:
		return &gluster.Error{Reason: gluster.NotFound, Command: "volume info " + name, Text: "Volume " + name + " does not exist"}
	}
	return do(v)
}

// HealInfo returns that nothing waits.
func (g *Gluster) HealInfo(ctx context.Context, name string) ([]gluster.BrickHeal, error) {
	v, err := g.Volume(ctx, name)
	if err != nil {
		return nil, err
	}
	var out []gluster.BrickHeal
	for _, k := range v.Bricks {
		out = append(out, gluster.BrickHeal{Brick: k, Connected: true})
	}
	return out, nil
}
