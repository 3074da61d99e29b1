// Package orphans owns the judgement of what belongs to nobody in a pool: it
// holds what lies on the brick roots, what Gluster has and what heketi has
// against each other, and removes what it found, one thing at a time.
//
// It refuses to judge what it cannot see: a node that does not answer is
// reported, and nothing is called orphaned that this node could know more of.
// It does not know how a backend makes or removes a volume, and not who asks.
package orphans

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/pause"
	"bricklayer.csi/internal/volume"
)

// Kind says in what way a thing belongs to nobody.
type Kind string

// The kinds.
const (
	// BrickDirectory is a brick directory of ours that no Gluster volume has as a brick.
	BrickDirectory Kind = "brick-directory"
	// Unfinished is a volume whose creation never came to its end: nobody was
	// told that it exists.
	Unfinished Kind = "unfinished-volume"
	// HeketiOnly is a volume of ours in heketi's database that Gluster has not.
	HeketiOnly Kind = "only-in-heketi"
	// GlusterOnly is a volume in Gluster that heketi made for us and forgot. Its
	// data are whole and may be in use, so it is shown and never removed.
	GlusterOnly Kind = "unknown-to-heketi"
	// Retained is a volume that was let go with its data, as its class says. It
	// is nobody's by intent: it is shown apart and never removed.
	Retained Kind = "retained"
	// Unclaimed is a whole volume that nobody in the orchestrator stands for. Its
	// data are whole, and an administrator or another cluster may use it: it is
	// shown apart and never removed.
	Unclaimed Kind = "unclaimed-volume"
)

// Entry is one thing that was found.
type Entry struct {
	Kind Kind
	Pool string
	// Node and Root say where a brick directory lies; empty for volumes.
	Node, Root string
	// Name is the Gluster volume's name, Handle the whole of it.
	Name   string
	Handle volume.Handle
	// Size is what it may take, in bytes: a brick directory's quota, a volume's
	// size. Zero where there is no bound or it is not known.
	Size volume.Size
	// Used is what lies in its brick directories, in bytes; nil where unknown.
	Used *volume.Size
	// Created is when its volume was made; zero where unknown.
	Created time.Time
	// identity is what must be the same for it to be the same thing unchanged.
	identity string
	// removal is where its brick directory goes.
	removal brick.RemoveMode
}

// Same reports whether two looks saw the same thing, unchanged in between.
func (e Entry) Same(other Entry) bool {
	return e.Kind == other.Kind && e.Pool == other.Pool && e.Node == other.Node && e.Root == other.Root &&
		e.Handle == other.Handle && e.identity == other.identity
}

// Removable reports whether Remove removes things of this kind.
func (k Kind) Removable() bool {
	switch k {
	case BrickDirectory, Unfinished, HeketiOnly:
		return true
	case GlusterOnly, Retained, Unclaimed:
		return false
	}
	return false
}

// Report is what one look found. Entries are sorted.
type Report struct {
	Orphans, Retained, Unclaimed []Entry
	// Unknown are the parts of which nothing could be told, with why.
	Unknown []error
}

// Both returns the orphans of a report that another look saw too, unchanged.
func (r Report) Both(other Report) []Entry {
	return slices.DeleteFunc(slices.Clone(r.Orphans), func(e Entry) bool { return !slices.ContainsFunc(other.Orphans, e.Same) })
}

// Silent reports whether a part did not answer that may do so later.
func (r Report) Silent() bool {
	return slices.ContainsFunc(r.Unknown, func(err error) bool { return volume.Is(err, volume.Unavailable) })
}

func (r *Report) sort() {
	order := func(x, y Entry) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Name, y.Name), cmp.Compare(x.Node, y.Node), cmp.Compare(x.Root, y.Root))
	}
	slices.SortFunc(r.Orphans, order)
	slices.SortFunc(r.Retained, order)
	slices.SortFunc(r.Unclaimed, order)
}

// Node is a storage node of a pool.
type Node struct {
	Name string
	// Address is how bricks of this node are called in Gluster.
	Address string
	Agent   agent.Node
}

// Pool is what is looked over. A pool has nodes, a heketi, or both.
type Pool struct {
	Name  string
	Nodes []Node
	// Plain and Heketi are its backends; nil where it has none such.
	Plain, Heketi volume.Backend
	// Claimed answers which volumes somebody in the orchestrator stands for; nil
	// where there is none to ask.
	Claimed func(ctx context.Context) (map[volume.Handle]bool, error)
}

// ErrChanged says that a thing was left alone because it is not as it was seen.
var ErrChanged = errors.New("it is gone, in use or changed by now, and was left alone")

// Remove looks at the pool again and removes the things that still are what was
// seen and still belong to nobody. It answers for each: ErrChanged where not,
// Unavailable where that cannot be told. The last look is one for all of them, so
// they should be few: the brick directories of one volume. It may be repeated.
func (p Pool) Remove(ctx context.Context, entries ...Entry) []error {
	errs := make([]error, len(entries))
	var now *Report
	for i, e := range entries {
		if errs[i] = e.refuse(); errs[i] != nil {
			continue
		}
		if now == nil {
			r := p.Look(ctx)
			now = &r
		}
		errs[i] = p.remove(ctx, e, *now)
	}
	return errs
}

// refuse says why a thing is never removed; nil where it may be.
func (e Entry) refuse() error {
	switch e.Kind {
	case GlusterOnly:
		return &volume.Error{
			Kind: volume.Precondition, Op: opRemove, On: e.Handle.String(),
			Err:  errors.New("its data are whole and may be in use: only heketi's database has lost it"),
			Next: "restore heketi's database from a newer copy, or save the data and remove the volume with gluster and lvremove by hand",
		}
	case Retained:
		return &volume.Error{Kind: volume.Precondition, Op: opRemove, On: e.Handle.String(), Err: errors.New("it was retained by intent")}
	case Unclaimed:
		return &volume.Error{
			Kind: volume.Precondition, Op: opRemove, On: e.Handle.String(), Err: errors.New("its data are whole and may be in use elsewhere"),
			Next: "delete it with bricklayer volume delete, if nobody needs it",
		}
	case BrickDirectory, Unfinished, HeketiOnly:
	}
	return nil
}

const opRemove = "remove orphan"

// remove removes one thing that the newest look still shows.
func (p Pool) remove(ctx context.Context, e Entry, now Report) error {
	if ctx.Err() != nil {
		return &volume.Error{Kind: volume.Unavailable, Op: opRemove, On: e.Handle.String(), Err: context.Cause(ctx), Next: "repeat the call"}
	}
	if !slices.ContainsFunc(now.Orphans, e.Same) {
		if now.Silent() {
			return &volume.Error{Kind: volume.Unavailable, Op: opRemove, On: e.Handle.String(), Err: errors.Join(now.Unknown...), Next: "repeat the call when all of the pool answers"}
		}
		return ErrChanged
	}
	switch {
	case e.Kind == HeketiOnly:
		return p.Heketi.Delete(ctx, e.Handle)
	case e.Kind == Unfinished && e.Handle.Backend == volume.Heketi:
		return p.Heketi.Undo(ctx, e.Handle)
	case e.Kind == Unfinished:
		return p.Plain.Undo(ctx, e.Handle)
	}
	for _, n := range p.Nodes {
		if n.Name == e.Node { // the agent itself looks once more whether Gluster uses it
			return n.Agent.RemoveBrick(ctx, brick.RemoveRequest{Ref: brick.Ref{Root: e.Root, Volume: e.Name}, Mode: e.removal})
		}
	}
	return ErrChanged
}

// Wait returns when the grace has passed or ctx ends. It says how much is left,
// at first and then every step.
func Wait(ctx context.Context, grace, step time.Duration, say func(left time.Duration)) error {
	end := time.Now().Add(grace)
	for {
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		say(left)
		if err := pause.For(ctx, min(step, left)); err != nil {
			return err
		}
	}
}
