package plain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/pause"
	"bricklayer.csi/internal/volume"
)

// rootMode is the mode of a volume's root: its group may write, and what is
// made in it keeps the group.
const rootMode = 0o2775

// plan is a volume that is being made: what it will be and where its bricks lie.
type plan struct {
	spec   volume.Spec
	handle volume.Handle
	// marks say what the volume will be, and where its bricks lie.
	marks mark.Volume
	// paths are the brick directories in the order of the layout, once made.
	paths []string
}

// Create implements volume.Backend. Its steps, each of which may be repeated:
// find what is there; place the bricks, or take the place that an earlier call
// chose; make the brick directories with their quotas, all at once; make the
// Gluster volume; set all of its options; start it; see every brick online.
func (b *Backend) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	const op = "create volume"
	h := spec.Handle()
	p := spec.Parameters
	if p.Layout != volume.LayoutVolume {
		return volume.Volume{}, volume.NewFieldError("parameters.layout", string(p.Layout), "volume (this version serves no other layout)")
	}
	size, err := spec.Size.Pick(p.Type.SizeUnit())
	if err != nil {
		return volume.Volume{}, err
	}
	var v volume.Volume
	err = b.guard.Do(ctx, guard.Request{Flow: p.Fingerprint(), Op: op, On: "volume " + h.String()}, func(t *guard.Turn) error {
		v, err = b.create(ctx, t, spec, size)
		return err
	})
	return v, err
}

// create is Create when its turn has come.
func (b *Backend) create(ctx context.Context, t *guard.Turn, spec volume.Spec, size volume.Size) (volume.Volume, error) {
	const op = "create volume"
	h := spec.Handle()
	p := spec.Parameters
	f, err := b.find(ctx, h, true)
	b.spare(ctx, t, f.survey)
	if err != nil {
		return volume.Volume{}, err
	}
	if err := f.refuseForeign(op, h, volume.Exists); err != nil {
		return volume.Volume{}, err
	}
	if f.ready() {
		return b.adopt(ctx, spec, &f)
	}
	pl := &plan{spec: spec, handle: h, marks: mark.Volume{
		Handle: h, Size: size, Type: p.Type, Fingerprint: p.Fingerprint(), Class: p.Class,
		Enforce: p.Quota, OnDelete: p.OnDelete, Created: time.Now().UTC(),
	}}
	release, err := b.settle(ctx, pl, &f)
	if errors.Is(err, errNoPlace) && b.mostAnswer(f.survey) {
		t.Spare() // nothing was asked of anybody, and other volumes may have a place
	}
	if err != nil {
		return volume.Volume{}, err
	}
	defer release()
	if !f.exists {
		t.Whole()
	}
	return b.build(ctx, pl, &f)
}

// adopt returns the volume that is there where it is what spec asks for. One
// that is stopped is no answer: somebody is deleting it, or stopped it by hand.
// What else ails its bricks is for Health to say, but a node that missed its
// start, which the earlier call may not have lived to see, is put right.
func (b *Backend) adopt(ctx context.Context, spec volume.Spec, f *found) (volume.Volume, error) {
	v := b.describe(spec.Handle(), f.info, f.marks, volume.Ready, spec.Near)
	if err := v.Satisfies(spec); err != nil {
		return volume.Volume{}, err
	}
	if f.info.Status != gluster.StatusStarted {
		return volume.Volume{}, &volume.Error{
			Kind: volume.Exists, Op: "create volume", On: v.Handle.String(),
			Err:  errors.New("the volume exists and is stopped: its deletion was begun, or an administrator stopped it"),
			Next: "delete it, or start it with: gluster volume start " + v.Handle.Name,
		}
	}
	if _, err := b.offline(ctx, f.survey, f.info); err != nil {
		b.log.DebugContext(ctx, "the bricks of a volume that is there cannot be looked at", "volume", v.Handle.Name, "error", err)
	}
	return v, nil
}

// build carries the plan out, from whichever step an earlier call had reached.
func (b *Backend) build(ctx context.Context, pl *plan, f *found) (volume.Volume, error) {
	fail := func(step string, err error) (volume.Volume, error) {
		return volume.Volume{}, &volume.Error{Kind: volume.KindOf(err), Op: "create volume", On: pl.handle.String(), Err: fmt.Errorf("%s: %w", step, err)}
	}
	if err := b.makeBricks(ctx, pl); err != nil {
		if volume.Is(err, volume.Exists) {
			err = b.yield(ctx, pl)
		}
		return fail("make the brick directories", err)
	}
	name := pl.handle.Name
	if !f.exists {
		if err := b.makeVolume(ctx, pl, f); err != nil {
			return fail("make the Gluster volume", err)
		}
	}
	if !f.marked {
		options, err := b.volumeOptions(pl.marks, pl.spec.Parameters.GlusterOptions())
		if err == nil {
			err = b.command(f.survey, name, func(n agent.Node) error { return n.SetOptions(ctx, name, options) })
		}
		if err != nil {
			return fail("set its options", err)
		}
	}
	if f.info.Status != gluster.StatusStarted {
		err := b.start(ctx, f.survey, name)
		if refusedFor(err, gluster.BrickMissing) {
			// A node lost its power before what glusterd had written to the brick was
			// on the disk, and no later start mends that.
			err = errors.Join(
				&volume.Error{Kind: volume.Busy, Err: err, Next: "repeat the call, which makes the volume anew"},
				b.Undo(ctx, pl.handle))
		}
		if err != nil {
			return fail("start it", err)
		}
	}
	info := gluster.Volume{Name: name, Bricks: pl.glusterBricks(b)}
	if err := b.awaitBricks(ctx, f.survey, info); err != nil {
		// The volume is made; whatever ails its bricks, this call's outcome is open.
		return fail("see its bricks online", &volume.Error{Kind: volume.Unavailable, Err: err})
	}
	return b.describe(pl.handle, info, pl.marks, volume.Ready, pl.spec.Near), nil
}

// yield gives way to another controller that is making the same volume: what
// only we made is removed, and the caller is asked to come again, when it will
// find the other's.
func (b *Backend) yield(ctx context.Context, pl *plan) error {
	ours := slices.DeleteFunc(b.ask(ctx, pl.handle.Name, false).bricks,
		func(k foundBrick) bool { return !k.Mark.Same(pl.marks.Brick()) })
	return errors.Join(
		&volume.Error{Kind: volume.Busy, Err: errors.New("another controller is making this volume"), Next: "repeat the call later"},
		b.removeBricks(ctx, ours, brick.ToTrash))
}

// makeBricks makes every brick directory of the plan at once.
func (b *Backend) makeBricks(ctx context.Context, pl *plan) error {
	pl.paths = make([]string, len(pl.marks.Layout))
	nodes := make([]*Node, len(pl.marks.Layout))
	position := map[string]int{}
	for i, at := range pl.marks.Layout {
		n, ok := b.nodes[at.Node]
		if !ok || !slices.Contains(n.Roots, at.Root) {
			return &volume.Error{
				Kind: volume.Precondition, Op: "make a brick directory", On: at.Node + "/" + at.Root,
				Err: errors.New("an earlier call placed a brick there, but the pool has no such root any more"),
			}
		}
		nodes[i], position[at.Node] = n, i
	}
	failed := eachNode(nodes, func(n *Node) error {
		i := position[n.Name]
		made, err := n.Agent.MakeBrick(ctx, brick.MakeRequest{
			Ref:     brick.Ref{Root: pl.marks.Layout[i].Root, Volume: pl.handle.Name},
			Mark:    pl.marks.Brick(),
			Quota:   brick.Quota{Bytes: pl.marks.Type.BrickQuota(i, pl.marks.Size)},
			Enforce: pl.marks.Enforce,
			Mode:    rootMode,
		})
		if err == nil {
			pl.paths[i] = made.Path
		}
		return err
	})
	return worst(failed)
}

func (pl *plan) glusterBricks(b *Backend) []gluster.Brick {
	bricks := make([]gluster.Brick, len(pl.marks.Layout))
	for i, at := range pl.marks.Layout {
		bricks[i] = gluster.Brick{Host: b.nodes[at.Node].Address, Path: pl.paths[i], Arbiter: pl.marks.Type.IsArbiter(i)}
	}
	return bricks
}

// makeVolume makes the Gluster volume on the plan's bricks.
func (b *Backend) makeVolume(ctx context.Context, pl *plan, f *found) error {
	create := func() error {
		return b.command(f.survey, pl.handle.Name, func(n agent.Node) error { return n.CreateVolume(ctx, pl.request(b)) })
	}
	err := create()
	if refusedFor(err, gluster.Exists) {
		return b.judge(ctx, pl, f, err)
	}
	if !refusedFor(err, gluster.BrickInUse) {
		return err
	}
	// Directories that carry the ID of a volume which never came to be, or is
	// gone from Gluster, hold nothing that anybody was promised: they are made
	// anew, once. If another volume uses them after all, the agents refuse.
	if lookErr := b.look(ctx, pl.handle, f); lookErr != nil || f.exists {
		return errors.Join(err, lookErr)
	}
	bricks := b.ask(ctx, pl.handle.Name, false).bricks
	if err := refuseKept(pl.handle, bricks); err != nil {
		return err
	}
	if err := b.removeBricks(ctx, bricks, brick.ToTrash); err != nil {
		return err
	}
	if err := b.makeBricks(ctx, pl); err != nil {
		return err
	}
	err = create()
	if refusedFor(err, gluster.BrickInUse) {
		// glusterd marks the bricks before it asks its peers: where one of them
		// refused and the next node was asked, that finds the marks of the first.
		return &volume.Error{Kind: volume.Busy, Err: err, Next: "repeat the call later"}
	}
	return err
}

// refuseKept returns Exists where directories in the way may hold what a
// deletion that was cut short must keep.
func refuseKept(h volume.Handle, bricks []foundBrick) error {
	if !slices.ContainsFunc(bricks, foundBrick.kept) {
		return nil
	}
	return &volume.Error{
		Kind: volume.Exists, Op: "create volume", On: "volume " + h.String(),
		Err:  errors.New("brick directories of this name exist whose data a deletion shall keep"),
		Next: "delete the volume once more, which puts them into the archive",
	}
}

// judge decides what it means that the name is taken all of a sudden: our own
// command whose answer was lost, another controller, a stranger's volume, or a
// record that came back.
func (b *Backend) judge(ctx context.Context, pl *plan, f *found, taken error) error {
	f.survey = b.ask(ctx, pl.handle.Name, true)
	f.disown(pl.handle)
	others := f.foreign != "" // directories of another handle, which may be that volume's
	if err := b.look(ctx, pl.handle, f); err != nil {
		return err
	}
	wanted := pl.glusterBricks(b)
	same := slices.EqualFunc(f.info.Bricks, wanted, func(x, y gluster.Brick) bool { return x.String() == y.String() })
	switch {
	case f.exists && f.foreign == "" && same:
		return nil
	case f.exists && !others && b.isGhost(f, pl):
		err := b.command(f.survey, pl.handle.Name, func(n agent.Node) error {
			return accept(n.DeleteVolume(ctx, pl.handle.Name), gluster.NotFound)
		})
		return errors.Join(&volume.Error{Kind: volume.Busy, Err: taken, Next: "repeat the call"}, err)
	case f.foreign != "":
		ours := slices.DeleteFunc(slices.Clone(f.bricks), f.uses)
		return errors.Join(f.refuseForeign("create volume", pl.handle, volume.Exists), b.removeBricks(ctx, ours, brick.ToTrash))
	case f.exists:
		return b.yield(ctx, pl)
	}
	return &volume.Error{Kind: volume.Busy, Err: taken, Next: "repeat the call later"}
}

// isGhost reports whether what Gluster has of this name is a record and nothing
// more: it carries no marks, its bricks were to lie where only our agents make
// directories, and none is there but those that this call has just made. A node
// that comes back can bring such a record, of a volume that an earlier call
// undid meanwhile; its peers then take it over.
func (b *Backend) isGhost(f *found, pl *plan) bool {
	if f.marked || f.marks.Released || len(f.silent) > 0 || len(f.info.Bricks) == 0 {
		return false
	}
	for _, k := range f.info.Bricks {
		if there := f.brickOf(k); there != nil && !there.Mark.Same(pl.marks.Brick()) {
			return false
		}
		ours := slices.ContainsFunc(b.Nodes, func(n Node) bool {
			return n.Address == k.Host && slices.ContainsFunc(f.described[n.Name].Roots, func(r brick.RootState) bool {
				return slices.Contains(n.Roots, r.Name) && agent.BrickPath(r.Path, pl.handle.Name) == k.Path
			})
		})
		if !ours {
			return false
		}
	}
	return true
}

// request returns the plan as gluster is asked for it.
func (pl *plan) request(b *Backend) gluster.CreateRequest {
	r := gluster.CreateRequest{Name: pl.handle.Name, Bricks: pl.glusterBricks(b)}
	switch t := pl.marks.Type; t.Durability {
	case volume.Replicate:
		r.Replica, r.Arbiter = t.Replicas, t.Arbiters
	case volume.Disperse:
		r.Disperse, r.Redundancy = t.Data+t.Redundancy, t.Redundancy
	case volume.None:
	}
	return r
}

func refusedFor(err error, reason gluster.Reason) bool {
	var refused *gluster.Error
	return errors.As(err, &refused) && refused.Reason == reason
}

// Waits between looks at the brick processes, which sign in to glusterd in
// their own time after the volume has started.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 2 * time.Second
)

// awaitBricks returns once every brick of the volume is online.
func (b *Backend) awaitBricks(ctx context.Context, s survey, info gluster.Volume) error {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		down, err := b.offline(ctx, s, info)
		if err == nil && len(down) == 0 || err != nil && ctx.Err() == nil {
			return err
		}
		if pause.For(ctx, wait) != nil {
			return &volume.Error{
				Kind: volume.Unavailable, Op: "wait for the bricks", On: "volume " + info.Name,
				Err:  errors.Join(fmt.Errorf("offline: %v", down), err, context.Cause(ctx)),
				Next: "see the brick's log below /var/log/glusterfs/bricks on that node; the call may be repeated",
			}
		}
	}
}

// offline returns the bricks of a started volume that are not online, once
// glusterd lets anybody look: another look at the same moment makes it refuse
// ours. A node that was away while the volume was started refuses for all of
// them, until it is started once more.
func (b *Backend) offline(ctx context.Context, s survey, info gluster.Volume) (down []string, err error) {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err = b.command(s, info.Name, func(n agent.Node) (err error) {
			down, err = bricksDown(ctx, n, info)
			return err
		})
		if refusedFor(err, gluster.NotStarted) {
			err = b.start(ctx, s, info.Name)
		} else if !refusedFor(err, gluster.Locked) {
			return down, err
		}
		if err != nil && !refusedFor(err, gluster.Locked) {
			return nil, err
		}
		if ended := pause.For(ctx, wait); ended != nil {
			return nil, errors.Join(ended, err)
		}
	}
}

// start starts the volume, or has the nodes agree that it runs.
func (b *Backend) start(ctx context.Context, s survey, name string) error {
	return b.command(s, name, func(n agent.Node) error {
		return accept(n.StartVolume(ctx, name), gluster.AlreadyStarted)
	})
}

// bricksDown returns the bricks of the volume whose processes are not online.
func bricksDown(ctx context.Context, n agent.Node, info gluster.Volume) ([]string, error) {
	status, err := n.VolumeStatus(ctx, info.Name)
	if err != nil {
		return nil, err
	}
	online := map[string]bool{}
	for _, s := range status {
		online[s.Brick.String()] = s.Online
	}
	var down []string
	for _, k := range info.Bricks {
		if !online[k.String()] {
			down = append(down, k.String())
		}
	}
	return down, nil
}

// worst joins the errors of several nodes under one kind: an indefinite one
// where there is any, because the outcome is then unknown.
func worst(failed map[string]error) error {
	if len(failed) == 0 {
		return nil
	}
	var errs []error
	kind := volume.Internal
	for _, name := range sortedKeys(failed) {
		k := volume.KindOf(failed[name])
		if len(errs) == 0 || kind.Definite() && !k.Definite() {
			kind = k
		}
		errs = append(errs, failed[name])
	}
	return &volume.Error{Kind: kind, Err: errors.Join(errs...)}
}
