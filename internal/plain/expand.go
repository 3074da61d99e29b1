package plain

import (
	"context"
	"errors"
	"fmt"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// Expand implements volume.Backend by raising the quotas of the bricks, which
// clients see at once. The quotas come first and the mark last: a call that was
// interrupted is completed by its repetition, and until then df shows at least
// what was promised.
func (b *Backend) Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (volume.Volume, error) {
	const op = "expand volume"
	var v volume.Volume
	err := b.guard.Do(ctx, guard.Request{Flow: guard.FlowExpand, Op: op, On: "volume " + h.String()}, func(t *guard.Turn) (err error) {
		v, err = b.expand(ctx, t, h, size)
		return err
	})
	return v, err
}

// expand is Expand when its turn has come.
func (b *Backend) expand(ctx context.Context, t *guard.Turn, h volume.Handle, size volume.SizeRange) (volume.Volume, error) {
	const op = "expand volume"
	f, err := b.find(ctx, h, true)
	b.spare(ctx, t, f.survey)
	if err == nil {
		err = f.surely(op, h)
	}
	if err != nil {
		return volume.Volume{}, err
	}
	if !f.ready() {
		return volume.Volume{}, &volume.Error{Kind: volume.NotFound, Op: op, On: h.String(), Err: errors.New("there is no such volume")}
	}
	want, err := size.Pick(f.marks.Type.SizeUnit())
	if err != nil {
		return volume.Volume{}, err
	}
	want = max(want, f.marks.Size)
	if size.Limit != 0 && want > size.Limit {
		return volume.Volume{}, &volume.Error{
			Kind: volume.OutOfRange, Op: op, On: h.String(),
			Err: fmt.Errorf("it has %d bytes, more than the limit of %d; volumes do not shrink", want, size.Limit),
		}
	}
	if f.marks.Enforce {
		if err := b.raise(ctx, &f, want); err != nil {
			return volume.Volume{}, &volume.Error{Kind: volume.KindOf(err), Op: op, On: h.String(), Err: err}
		}
	}
	if want != f.marks.Size {
		grown := mark.SizeOption(want)
		err := b.command(f.survey, h.Name, func(n agent.Node) error {
			return n.SetOptions(ctx, h.Name, []gluster.Option{grown})
		})
		if err != nil {
			return volume.Volume{}, err
		}
		f.marks.Size = want
	}
	return b.describe(h, f.info, f.marks, volume.Ready, anywhere), nil
}

// raise sets the quotas of all bricks for a volume of that size, or, where one
// of them certainly cannot be set, puts all of them back as they were.
func (b *Backend) raise(ctx context.Context, f *found, size volume.Size) error {
	targets, err := f.quotas(size)
	if err != nil {
		return err
	}
	if err := f.everFits(targets); err != nil {
		return err
	}
	before := map[string]brick.Quota{}
	nodes := make([]*Node, 0, len(targets))
	for name, t := range targets {
		before[name] = t.brick.Quota
		if t.brick.Quota != t.quota {
			nodes = append(nodes, t.brick.node)
		}
	}
	set := func(quota func(name string) brick.Quota) error {
		return worst(eachNode(nodes, func(n *Node) error {
			_, err := n.Agent.SetQuota(ctx, targets[n.Name].brick.Ref, quota(n.Name))
			return err
		}))
	}
	err = set(func(name string) brick.Quota { return targets[name].quota })
	if err != nil && volume.KindOf(err).Definite() {
		return errors.Join(err, set(func(name string) brick.Quota { return before[name] }))
	}
	return err
}

// everFits returns OutOfRange where a brick would outgrow the file system on
// which it lies: deleting other volumes will not help.
func (f *found) everFits(targets map[string]target) error {
	for _, name := range sortedKeys(targets) {
		t := targets[name]
		for _, r := range f.described[name].Roots {
			most := max(r.Total, r.Available+r.Committed)
			if r.Name == t.brick.Ref.Root && t.quota.Bytes > most {
				return &volume.Error{
					Kind: volume.OutOfRange, Op: "raise a quota", On: t.brick.gluster(),
					Err: fmt.Errorf("%d bytes are asked for and root %s/%s promises %d at most", t.quota.Bytes, name, r.Name, most),
				}
			}
		}
	}
	return nil
}

// target is a brick and the quota that it should have.
type target struct {
	brick foundBrick
	quota brick.Quota
}

// quotas returns what each brick of the volume should have, by node, and an
// error where a brick of the volume was not found on its node.
func (f *found) quotas(size volume.Size) (map[string]target, error) {
	targets := map[string]target{}
	for position, k := range f.info.Bricks {
		o := f.brickOf(k)
		if o == nil {
			if len(f.silent) > 0 {
				return nil, f.silence("find brick "+k.String(), "volume "+f.info.Name)
			}
			return nil, &volume.Error{
				Kind: volume.Precondition, Op: "find a brick directory", On: k.String(),
				Err:  errors.New("the node's agent has no such brick directory below its roots"),
				Next: "see that the brick root is mounted on that node",
			}
		}
		targets[o.node.Name] = target{brick: *o, quota: brick.Quota{
			Bytes: f.marks.Type.BrickQuota(position, size), Inodes: o.Quota.Inodes,
		}}
	}
	return targets, nil
}
