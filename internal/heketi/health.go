package heketi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// nearlyFull is the share of a brick's space, in percent, above which it is a problem.
const nearlyFull = 95

// report takes one problem.
type report func(kind volume.ProblemKind, format string, args ...any)

// Health implements volume.Backend. heketi knows which of its nodes and devices
// are meant to be in use; what the brick processes do only Gluster knows, where
// the pool has agents to ask it.
func (b *Backend) Health(ctx context.Context, h volume.Handle) (volume.Health, error) {
	const op = "look after volume"
	v, f, err := b.glanceAt(ctx, h)
	if err != nil {
		return volume.Health{}, err
	}
	if !f.ready() {
		return volume.Health{}, notFound(op, b.on(h))
	}
	health := volume.Health{Handle: h}
	problem := func(kind volume.ProblemKind, format string, args ...any) {
		health.Problems = append(health.Problems, volume.Problem{Kind: kind, Detail: fmt.Sprintf(format, args...)})
	}
	v.deviceHealth(f, problem)
	if f.pending && !f.operation.running() {
		problem(volume.Unknown, "heketi has left %s %s half done (%s); the next change of this volume clears it away, or: heketi-cli server operations cleanup %s",
			f.operation.Type, f.operation.ID, statusWord(f.operation), f.operation.ID)
	}
	if b.Gluster == nil {
		return health, nil
	}
	info, ok, err := b.inGluster(ctx, h.Name)
	switch {
	case err != nil:
		problem(volume.Unknown, "Gluster cannot be asked: %v", err)
	case !ok:
		problem(volume.NotStarted, "heketi lists the volume, but Gluster has none of this name: heketi's database is older than its deletion")
	case info.Status != gluster.StatusStarted:
		problem(volume.NotStarted, "the volume is stopped; start it with: gluster volume start %s", h.Name)
	default:
		b.brickHealth(ctx, info, typeOf(f.entry.Info.Durability), problem)
	}
	return health, nil
}

// deviceHealth reports bricks on nodes and devices that are out of use.
func (v *view) deviceHealth(f found, problem report) {
	for _, id := range f.entry.Bricks {
		k, known := v.Bricks[id]
		if !known {
			problem(volume.Unknown, "heketi's database lacks brick %s of the volume: heketi-cli db check", id)
			continue
		}
		at := v.host(k.Info.NodeId) + ":" + k.Info.Path
		if n := v.Nodes[k.Info.NodeId]; n.State != api.EntryStateOnline {
			problem(volume.BrickDown, "brick %s is on a node that is %s in heketi: heketi-cli node enable %s", at, n.State, k.Info.NodeId)
		} else if d := v.Devices[k.Info.DeviceId]; d.State != api.EntryStateOnline {
			problem(volume.BrickDown, "brick %s is on a device that is %s in heketi: heketi-cli device enable %s", at, d.State, k.Info.DeviceId)
		}
	}
}

// brickHealth reports what Gluster says of the bricks and of what waits to be healed.
func (b *Backend) brickHealth(ctx context.Context, info gluster.Volume, t volume.Type, problem report) {
	status, err := b.Gluster.VolumeStatus(ctx, info.Name)
	if err != nil {
		problem(volume.Unknown, "the state of the bricks cannot be read: %v", err)
		return
	}
	online := map[string]bool{}
	for _, s := range status {
		online[s.Brick.String()] = s.Online
		if used := s.SizeTotal - s.SizeFree; s.SizeTotal > 0 && used > s.SizeTotal/100*nearlyFull {
			problem(volume.NearlyFull, "brick %s has used %d of %d bytes; expand the volume or delete files", s.Brick, used, s.SizeTotal)
		}
	}
	down := func(k gluster.Brick) bool { return !online[k.String()] }
	for _, k := range info.Bricks {
		if down(k) {
			problem(volume.BrickDown, "brick %s is offline; see its log on that node, then: gluster volume start %s force", k, info.Name)
		}
	}
	for set := range slices.Chunk(info.Bricks, max(1, t.Bricks())) {
		quorumHealth(set, down, t, problem)
	}
	if t.Durability != volume.None {
		b.healHealth(ctx, info.Name, problem)
	}
}

// quorumHealth reports a brick set that is too thin for writes: more than half
// of a replica set must be up (of two the first), all data fragments of a
// disperse set.
func quorumHealth(set []gluster.Brick, down func(gluster.Brick) bool, t volume.Type, problem report) {
	up := 0
	for _, k := range set {
		if !down(k) {
			up++
		}
	}
	lost := up == 0
	switch t.Durability {
	case volume.Replicate:
		lost = up*2 < t.Replicas || up*2 == t.Replicas && down(set[0])
	case volume.Disperse:
		lost = up < t.Data
	case volume.None:
	}
	if lost {
		names := make([]string, len(set))
		for i, k := range set {
			names[i] = k.String()
		}
		problem(volume.QuorumLost, "%d of the %d bricks %s are up: clients cannot write", up, len(set), strings.Join(names, ", "))
	}
}

func (b *Backend) healHealth(ctx context.Context, name string, problem report) {
	heals, err := b.Gluster.HealInfo(ctx, name)
	if err != nil {
		problem(volume.Unknown, "what waits to be healed cannot be read: %v", err)
		return
	}
	for _, k := range heals {
		if !k.Connected {
			continue // brickHealth has said that it is down
		}
		if k.SplitBrain > 0 {
			problem(volume.SplitBrain, "brick %s has %d entries in split-brain; see: gluster volume heal %s info split-brain", k.Brick, k.SplitBrain, name)
		}
		if k.Pending > 0 {
			problem(volume.HealPending, "brick %s has %d entries that wait to be healed", k.Brick, k.Pending)
		}
	}
}
