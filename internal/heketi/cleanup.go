package heketi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// cleanUp has heketi clear away an operation on which it works no longer: a
// create is undone, a delete finished, an expansion taken back. heketi reports
// success whatever came of it, so the next look tells.
func (b *Backend) cleanUp(ctx context.Context, t task, v *view, f found) error {
	o := f.operation
	stuck := func(why error) error {
		e := &volume.Error{
			Kind: volume.Unavailable, Op: t.op, On: b.on(t.handle),
			Err:  fmt.Errorf("heketi has left %s %s half done (%s) and cannot clear it away: %w", o.Type, o.ID, statusWord(o), why),
			Next: "see heketi's log for the cause; then repeat the call, or run: heketi-cli server operations cleanup " + o.ID,
		}
		if o.Type == expandVolume {
			e.Next += "; " + halfExpanded(f.entry.Info.Name)
		}
		return e
	}
	if err := b.refuseToUnmake(ctx, t, v, f); err != nil {
		return err
	}
	if o.Type != createVolume && o.Type != deleteVolume && o.Type != expandVolume {
		return stuck(errors.New("it does so only for create-volume, delete-volume and expand-volume"))
	}
	b.log.InfoContext(ctx, "clearing away what heketi left half done", "volume", t.handle.String(), "operation", o.ID, "type", o.Type.String(), "status", o.Status)
	for later, tries := b.newBackoff(), 0; ; tries++ {
		done, err := b.cleanOnce(ctx, t, o.ID)
		if done || err != nil {
			return err
		}
		if tries == maxAsks {
			return stuck(errors.New("it tried and the operation is still there"))
		}
		if err := later.wait(ctx); err != nil {
			return stuck(err)
		}
	}
}

func statusWord(o operationEntry) string {
	switch o.Status {
	case operationStale:
		return "heketi was restarted in the middle of it"
	case operationFailed:
		return "it failed, and could not be undone"
	}
	return o.Status
}

// cleanOnce asks once, and returns whether the operation is gone or is being
// worked on again.
func (b *Backend) cleanOnce(ctx context.Context, t task, id string) (done bool, err error) {
	on := b.on(t.handle)
	_, leave, err := b.enter(ctx, t.login, t.op, on)
	if err != nil {
		return false, err
	}
	defer leave()
	x := &exchange{login: t.login, accepted: leave}
	c, err := b.client(ctx, x)
	if err != nil {
		return false, err
	}
	err = c.PendingOperationCleanUp(&api.PendingOperationsCleanRequest{Operations: []string{id}})
	b.views.outdate()
	if err != nil {
		return false, b.explain(x, t.op, on, fmt.Errorf("clear away what an earlier call left: %w", err))
	}
	v, err := b.look(ctx, t.login, 0)
	if err != nil {
		return false, err
	}
	o, still := v.Operations[id]
	return !still || o.running(), nil
}

// halfExpanded says what to do about an expansion that heketi can neither finish
// nor take back.
func halfExpanded(name string) string {
	return "where gluster volume info " + name + " shows bricks that heketi-cli volume info does not, remove them with gluster volume remove-brick, " +
		"or, if the volume is to go, stop and delete it with gluster; then repeat the call"
}

// refuseToUnmake keeps heketi from taking an expansion back whose bricks Gluster
// uses already: it was killed after it had added them and before it wrote that
// down. Its cleaning takes the bricks out of the nodes' fstab, fails to unmount
// them, and, were they not in use at that moment, would destroy them with what
// clients wrote there. A volume that is to go is deleted in Gluster first, which
// heketi does not mind. Without agents none of this can be seen.
func (b *Backend) refuseToUnmake(ctx context.Context, t task, v *view, f found) error {
	if f.operation.Type != expandVolume || b.Gluster == nil {
		return nil
	}
	on := b.on(t.handle)
	info, ok, err := b.inGluster(ctx, t.handle.Name)
	if err != nil {
		return &volume.Error{
			Kind: volume.Unavailable, Op: t.op, On: on,
			Err:  fmt.Errorf("heketi has left an expansion half done, and Gluster does not tell how far it came: %w", err),
			Next: "bring an agent of the pool back",
		}
	}
	used := v.usedBricks(f.operation, info)
	if !ok || len(used) == 0 {
		return nil
	}
	if t.doomed && info.Options[mark.Handle] == t.handle.String() {
		return b.dropFromGluster(ctx, t, info)
	}
	return &volume.Error{
		Kind: volume.Precondition, Op: t.op, On: on,
		Err: fmt.Errorf("heketi was killed in an expansion (%s) after it had added bricks that its database does not have as the volume's: %s",
			f.operation.ID, strings.Join(used, " ")),
		Next: "put these bricks back into the nodes' /etc/fstab if heketi's cleaning took them out; then move their data away: gluster volume remove-brick " +
			t.handle.Name + " BRICK... start, and commit when it is done; then repeat the call",
	}
}

// usedBricks returns the bricks that an operation adds and that Gluster has.
func (v *view) usedBricks(o operationEntry, info gluster.Volume) []string {
	var used []string
	for _, a := range o.Actions {
		k, known := v.Bricks[a.ID]
		if !known {
			continue
		}
		name := v.host(k.Info.NodeId) + ":" + k.Info.Path
		if slices.ContainsFunc(info.Bricks, func(k gluster.Brick) bool { return k.String() == name }) {
			used = append(used, name)
		}
	}
	slices.Sort(used)
	return used
}

// dropFromGluster stops and deletes a volume of ours in Gluster. The rebalance
// that heketi starts after an expansion is waited for: Gluster does not stop a
// volume in the middle of it.
func (b *Backend) dropFromGluster(ctx context.Context, t task, info gluster.Volume) error {
	b.log.InfoContext(ctx, "deleting in Gluster what heketi cannot delete: it was killed in an expansion", "volume", t.handle.String())
	var err error
	for later := b.newBackoff(); ; {
		err = accept(b.Gluster.StopVolume(ctx, info.Name), gluster.NotStarted, gluster.NotFound)
		if !volume.Is(err, volume.Busy) || later.wait(ctx) != nil {
			break
		}
	}
	if err == nil {
		err = accept(b.Gluster.DeleteVolume(ctx, info.Name), gluster.NotFound)
	}
	if err != nil {
		return &volume.Error{Kind: volume.KindOf(err), Op: t.op, On: b.on(t.handle), Err: err}
	}
	return nil
}
