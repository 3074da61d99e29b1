package plain

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/volume"
)

// settle decides where the bricks lie: where an earlier call for the same spec
// put them, else by placement. Leftovers of any other call are removed.
func (b *Backend) settle(ctx context.Context, pl *plan, f *found) (release func(), err error) {
	if m, ok := pl.earlier(f); ok {
		pl.marks.Layout, pl.marks.GID, pl.marks.Size = m.Layout, m.GID, m.Size
		stray := slices.DeleteFunc(slices.Clone(f.bricks), func(k foundBrick) bool { return k.Mark.Same(m) })
		if err := b.removeBricks(ctx, stray, brick.ToTrash); err != nil {
			return nil, err
		}
		// What was admitted is finished: there was memory for it then. It is counted
		// again, as the call that counted it may have been another controller's.
		return b.guard.Place(f.asked, func(guard.Shortages) ([]string, error) { return nodesOf(m.Layout), nil })
	}
	if f.exists {
		return nil, &volume.Error{
			Kind: volume.Exists, Op: "create volume", On: "volume " + pl.handle.String(),
			Err:  errors.New("an unfinished volume of this name exists that was begun with other parameters or another size"),
			Next: "delete it, or repeat the call that began it",
		}
	}
	if err := refuseKept(pl.handle, f.bricks); err != nil {
		return nil, err
	}
	if err := b.removeBricks(ctx, f.bricks, brick.ToTrash); err != nil {
		return nil, err
	}
	gid, freeGID, err := b.chooseGID(f.survey, pl.handle.Name, pl.spec.Parameters)
	if err != nil {
		return nil, err
	}
	pl.marks.GID = gid
	arrived, err := b.choosePlaces(pl, f.survey)
	if err != nil {
		freeGID()
		return nil, err
	}
	return func() { arrived(); freeGID() }, nil
}

// earlier returns the mark of an earlier call for this spec of which a brick
// directory is left: where the Gluster volume exists, of its bricks. Of several
// every controller picks the same one.
func (pl *plan) earlier(f *found) (best brick.Mark, ok bool) {
	for _, k := range f.bricks {
		m := k.Mark
		fits := m.Fingerprint == pl.marks.Fingerprint && m.Type == pl.marks.Type.String() &&
			pl.spec.Size.Holds(m.Size) && len(m.Layout) == pl.marks.Type.Bricks() &&
			slices.Contains(m.Layout, brick.Place{Node: k.node.Name, Root: k.Ref.Root})
		if !fits || f.exists && !f.uses(k) {
			continue
		}
		if !ok || fmt.Sprint(m) < fmt.Sprint(best) {
			best, ok = m, true
		}
	}
	return best, ok
}

// choosePlaces fills in the layout. Its bricks count as coming to their nodes until
// arrived is called.
func (b *Backend) choosePlaces(pl *plan, s survey) (arrived func(), err error) {
	if err := b.enoughNodes(pl.handle, pl.spec.Parameters); err != nil {
		return nil, err
	}
	var from candidates
	arrived, err = b.guard.Place(s.asked, func(short guard.Shortages) ([]string, error) {
		from = b.candidates(s, pl.spec.Parameters, short)
		chosen, err := place(pl.handle.Name, pl.marks.Type, pl.marks.Size, from.usable, pl.spec.Near)
		if err != nil {
			return nil, err
		}
		pl.marks.Layout = make([]brick.Place, len(chosen))
		for i, c := range chosen {
			pl.marks.Layout[i] = brick.Place{Node: c.node.Name, Root: c.root}
		}
		return nodesOf(pl.marks.Layout), nil
	})
	if err != nil {
		return nil, b.refuseRoom(pl.handle, pl.marks.Type, pl.marks.Size, s.described, from)
	}
	return arrived, nil
}

func nodesOf(layout []brick.Place) []string {
	nodes := make([]string, len(layout))
	for i, at := range layout {
		nodes[i] = at.Node
	}
	return nodes
}
