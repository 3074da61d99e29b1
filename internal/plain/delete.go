package plain

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// Delete implements volume.Backend. Its steps: see that every part that holds
// something of the volume answers; stop the volume; delete it in Gluster; put
// its brick directories into the trash. Each may be repeated, and until the
// last one is done the name's brick directories tell the next call what is left.
func (b *Backend) Delete(ctx context.Context, h volume.Handle) error {
	const op = "delete volume"
	return b.guard.Do(ctx, guard.Request{Flow: guard.FlowDelete, Op: op, On: "volume " + h.String()}, func(t *guard.Turn) error {
		return b.delete(ctx, t, h)
	})
}

// delete is Delete when its turn has come.
func (b *Backend) delete(ctx context.Context, t *guard.Turn, h volume.Handle) error {
	const op = "delete volume"
	f, err := b.find(ctx, h, false)
	b.spare(ctx, t, f.survey)
	if err != nil {
		return err
	}
	if f.marks.Released {
		return nil // an earlier call let it go, and its data stays
	}
	if err := f.refuseForeign(op, h, volume.Precondition); err != nil {
		return err
	}
	if err := f.complete(b, op, h); err != nil {
		return err
	}
	mode := brick.ToTrash
	if !f.exists && slices.ContainsFunc(f.bricks, foundBrick.kept) {
		mode = brick.ToArchive // an earlier call was cut short after Gluster forgot the volume
	}
	if f.exists {
		if f.marks.OnDelete == volume.RetainVolume {
			return b.release(ctx, h, &f)
		}
		t.Whole()
		if f.marks.OnDelete == volume.ArchiveData {
			mode = brick.ToArchive
		}
		if err := b.dropVolume(ctx, h, &f); err != nil {
			return err
		}
	}
	return b.removeBricks(ctx, f.bricks, mode)
}

// Undo implements volume.Backend.
func (b *Backend) Undo(ctx context.Context, h volume.Handle) error {
	const op = "undo the creation"
	f, err := b.find(ctx, h, false)
	if err != nil {
		return err
	}
	if f.ready() || f.foreign != "" {
		return &volume.Error{Kind: volume.Precondition, Op: op, On: "volume " + h.String(), Err: errors.New("it is not an unfinished volume of ours")}
	}
	if f.exists {
		if err := b.dropVolume(ctx, h, &f); err != nil {
			return err
		}
	}
	if err := b.removeBricks(ctx, f.bricks, brick.ToTrash); err != nil {
		return err
	}
	if len(f.silent) > 0 {
		return f.silence(op, "volume "+h.String())
	}
	return nil
}

// dropVolume stops the Gluster volume where it runs and deletes it. That it is
// already stopped or gone is what we want.
func (b *Backend) dropVolume(ctx context.Context, h volume.Handle, f *found) error {
	if err := b.stopVolume(ctx, h, f); err != nil {
		return err
	}
	return b.command(f.survey, h.Name, func(n agent.Node) error {
		return accept(n.DeleteVolume(ctx, h.Name), gluster.NotFound)
	})
}

// stopVolume stops the volume whatever its state is said to be: the node that
// was asked may have come back a moment ago and know an older one.
func (b *Backend) stopVolume(ctx context.Context, h volume.Handle, f *found) error {
	return b.command(f.survey, h.Name, func(n agent.Node) error {
		return accept(n.StopVolume(ctx, h.Name), gluster.NotStarted, gluster.NotFound)
	})
}

// release lets a volume go whose class retains the data: stopped, marked, and
// no longer ours to list or delete.
func (b *Backend) release(ctx context.Context, h volume.Handle, f *found) error {
	if err := b.stopVolume(ctx, h, f); err != nil {
		return err
	}
	let := mark.ReleasedOption(time.Now())
	return b.command(f.survey, h.Name, func(n agent.Node) error {
		return n.SetOptions(ctx, h.Name, []gluster.Option{let})
	})
}

// accept turns the refusals that are named into success.
func accept(err error, reasons ...gluster.Reason) error {
	for _, r := range reasons {
		if refusedFor(err, r) {
			return nil
		}
	}
	return err
}

// removeBricks takes brick directories out of the way, all at once.
func (b *Backend) removeBricks(ctx context.Context, bricks []foundBrick, mode brick.RemoveMode) error {
	byNode := map[*Node][]brick.Ref{}
	for _, k := range bricks {
		byNode[k.node] = append(byNode[k.node], k.Ref)
	}
	return worst(eachNode(slices.Collect(maps.Keys(byNode)), func(n *Node) error {
		for _, ref := range byNode[n] {
			if err := n.Agent.RemoveBrick(ctx, brick.RemoveRequest{Ref: ref, Mode: mode}); err != nil {
				return err
			}
		}
		return nil
	}))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
