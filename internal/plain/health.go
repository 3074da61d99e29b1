package plain

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// nearlyFull is the share of a brick's quota, in percent, above which it is a problem.
const nearlyFull = 95

// Health implements volume.Backend.
func (b *Backend) Health(ctx context.Context, h volume.Handle) (volume.Health, error) {
	const op = "look after volume"
	f, err := b.find(ctx, h, false)
	if err == nil {
		err = f.surely(op, h)
	}
	if err != nil {
		return volume.Health{}, err
	}
	if !f.ready() {
		return volume.Health{}, &volume.Error{Kind: volume.NotFound, Op: op, On: h.String(), Err: errors.New("there is no such volume")}
	}
	health := volume.Health{Handle: h}
	problem := func(kind volume.ProblemKind, format string, args ...any) {
		health.Problems = append(health.Problems, volume.Problem{Kind: kind, Detail: fmt.Sprintf(format, args...)})
	}
	for _, name := range sortedKeys(f.silent) {
		problem(volume.Unknown, "node %s does not answer (%v)", name, f.silent[name])
	}
	if f.info.Status != gluster.StatusStarted {
		problem(volume.NotStarted, "the volume is stopped; start it with: gluster volume start %s", h.Name)
		return health, nil
	}
	b.brickHealth(ctx, &f, problem)
	if f.marks.Type.Durability != volume.None {
		b.healHealth(ctx, &f, problem)
	}
	f.quotaHealth(problem)
	return health, nil
}

// report takes one problem.
type report func(kind volume.ProblemKind, format string, args ...any)

func (b *Backend) brickHealth(ctx context.Context, f *found, problem report) {
	var down []string
	err := b.command(f.survey, f.info.Name, func(n agent.Node) (err error) {
		down, err = bricksDown(ctx, n, f.info)
		return err
	})
	if refusedFor(err, gluster.NotStarted) {
		problem(volume.BrickDown, "a node takes the volume for stopped and serves no brick of it (%v); mend that with: gluster volume start %s force", err, f.info.Name)
		return
	}
	if err != nil {
		problem(volume.Unknown, "the state of the bricks cannot be read: %v", err)
		return
	}
	for _, k := range down {
		problem(volume.BrickDown, "brick %s is offline; see its log on that node, then: gluster volume start %s force", k, f.info.Name)
	}
	t := f.marks.Type
	up := len(f.info.Bricks) - len(down)
	// Client quorum: more than half of a replica set (Gluster's "auto"; of two,
	// the first must be up), all data fragments of a disperse set.
	lost := false
	switch t.Durability {
	case volume.Replicate:
		lost = up*2 < t.Replicas || up*2 == t.Replicas && len(down) > 0 && down[0] == f.info.Bricks[0].String()
	case volume.Disperse:
		lost = up < t.Data
	case volume.None:
		lost = up == 0
	}
	if lost {
		problem(volume.QuorumLost, "%d of %d bricks are up (down: %s): clients cannot write", up, len(f.info.Bricks), strings.Join(down, ", "))
	}
}

func (b *Backend) healHealth(ctx context.Context, f *found, problem report) {
	var heals []gluster.BrickHeal
	err := b.command(f.survey, f.info.Name, func(n agent.Node) (err error) {
		heals, err = n.HealInfo(ctx, f.info.Name)
		return err
	})
	if err != nil {
		problem(volume.Unknown, "what waits to be healed cannot be read: %v", err)
		return
	}
	for _, k := range heals {
		if !k.Connected {
			continue // brickHealth has said that it is down
		}
		if k.SplitBrain > 0 {
			problem(volume.SplitBrain, "brick %s has %d entries in split-brain; see: gluster volume heal %s info split-brain", k.Brick, k.SplitBrain, f.info.Name)
		}
		if k.Pending > 0 {
			problem(volume.HealPending, "brick %s has %d entries that wait to be healed", k.Brick, k.Pending)
		}
	}
}

func (f *found) quotaHealth(problem report) {
	if !f.marks.Enforce {
		return
	}
	targets, err := f.quotas(f.marks.Size)
	if err != nil {
		if len(f.silent) == 0 { // else it was said already
			problem(volume.QuotaMissing, "%v", err)
		}
		return
	}
	for _, name := range sortedKeys(targets) {
		t := targets[name]
		if t.brick.Quota.Bytes < t.quota.Bytes || t.brick.Quota.Bytes == 0 {
			problem(volume.QuotaMissing, "brick %s has a quota of %d bytes and should have %d; the agent there puts it right by itself, see its log if it does not",
				t.brick.gluster(), t.brick.Quota.Bytes, t.quota.Bytes)
			continue
		}
		if used, all := t.brick.Used, t.brick.Quota.Bytes; used > all/100*nearlyFull {
			problem(volume.NearlyFull, "brick %s has used %d of %d bytes; expand the volume or delete files", t.brick.gluster(), used, all)
		}
	}
}
