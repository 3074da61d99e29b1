package top

import (
	"context"
	"slices"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/operator"
	"bricklayer.csi/internal/volume"
)

// compare fills in what changed since the look before.
func (v *View) compare(before View) {
	seconds := v.At.Sub(before.At).Seconds()
	for i := range v.Pools {
		p := &v.Pools[i]
		at := slices.IndexFunc(before.Pools, func(b Pool) bool { return b.Name == p.Name })
		if at < 0 || seconds <= 0 {
			continue
		}
		old := &before.Pools[at]
		for j := range p.Stores {
			s := &p.Stores[j]
			k := slices.IndexFunc(old.Stores, func(b Store) bool { return b.Kind == s.Kind })
			if k >= 0 && s.Volumes != nil && old.Stores[k].Volumes != nil {
				s.VolumesChange = new(*s.Volumes - *old.Stores[k].Volumes)
			}
		}
		for j := range p.Nodes {
			n := &p.Nodes[j]
			k := slices.IndexFunc(old.Nodes, func(b Node) bool { return b.Name == n.Name })
			if k >= 0 {
				n.WrittenPerSecond = growth(n.Roots, old.Nodes[k].Roots, seconds)
			}
		}
	}
}

// growth is what the roots that were seen both times grew by, in bytes a second;
// nil where there is none.
func growth(now, before []Root, seconds float64) *int64 {
	var grown int64
	found := false
	for _, r := range now {
		i := slices.IndexFunc(before, func(b Root) bool { return b.Name == r.Name })
		if i >= 0 && r.UsedBytes != nil && before[i].UsedBytes != nil {
			grown += *r.UsedBytes - *before[i].UsedBytes
			found = true
		}
	}
	if !found {
		return nil
	}
	return new(int64(float64(grown) / seconds))
}

// limited are members of which each has to answer a question within a time.
func limited(m operator.Members, within time.Duration) operator.Members {
	agents := make(map[string]operator.Agent, len(m.Agents))
	for name, a := range m.Agents {
		agents[name] = limitedAgent{a, within}
	}
	m.Agents = agents
	if m.Heketi != nil {
		m.Heketi = limitedHeketi{m.Heketi, within}
	}
	return m
}

type limitedAgent struct {
	operator.Agent
	within time.Duration
}

func (l limitedAgent) Describe(ctx context.Context) (agent.Description, error) {
	ctx, cancel := context.WithTimeout(ctx, l.within)
	defer cancel()
	return l.Agent.Describe(ctx)
}

func (l limitedAgent) Bricks(ctx context.Context, name string) ([]brick.Brick, error) {
	ctx, cancel := context.WithTimeout(ctx, l.within)
	defer cancel()
	return l.Agent.Bricks(ctx, name)
}

func (l limitedAgent) Peers(ctx context.Context) ([]gluster.Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, l.within)
	defer cancel()
	return l.Agent.Peers(ctx)
}

type limitedHeketi struct {
	operator.Heketi
	within time.Duration
}

func (l limitedHeketi) Inspect(ctx context.Context) (heketi.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, l.within)
	defer cancel()
	return l.Heketi.Inspect(ctx)
}

func (l limitedHeketi) List(ctx context.Context, pool string) ([]volume.Volume, error) {
	ctx, cancel := context.WithTimeout(ctx, l.within)
	defer cancel()
	return l.Heketi.List(ctx, pool)
}
