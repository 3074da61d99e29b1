package plain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// eachNode runs f for every node of the list at once and returns the errors by
// node name; none means that all went well.
func eachNode(nodes []*Node, f func(n *Node) error) map[string]error {
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		failed = map[string]error{}
	)
	for _, n := range nodes {
		wg.Go(func() {
			if err := f(n); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[n.Name] = err
			}
		})
	}
	wg.Wait()
	return failed
}

// foundBrick is a brick directory and the node on which it is.
type foundBrick struct {
	node *Node
	brick.Brick
}

// gluster returns the brick as Gluster knows it.
func (f foundBrick) gluster() string {
	return gluster.Brick{Host: f.node.Address, Path: f.Path}.String()
}

// kept reports whether a deletion must keep the directory's data.
func (f foundBrick) kept() bool { return f.Mark.Removal() == brick.ToArchive }

// survey is what the nodes answered about one volume, all at once.
type survey struct {
	// asked is when.
	asked time.Time
	// described are the nodes' states, by node name; empty where not asked for.
	described map[string]agent.Description
	// bricks are the volume's brick directories, sorted by node and root.
	bricks []foundBrick
	// silent are the nodes that did not answer, with why.
	silent map[string]error
}

// ask surveys the nodes for the brick directories of a volume and, where
// describe is set, for their state. A node that does not answer is in silent.
func (b *Backend) ask(ctx context.Context, name string, describe bool) survey {
	s := survey{asked: time.Now(), described: map[string]agent.Description{}}
	var mu sync.Mutex
	s.silent = eachNode(b.ranked(name), func(n *Node) error {
		bricks, err := n.Agent.Bricks(ctx, name)
		if err != nil {
			return err
		}
		var d agent.Description
		if describe {
			if d, err = n.Agent.Describe(ctx); err != nil {
				return err
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, k := range bricks {
			s.bricks = append(s.bricks, foundBrick{node: n, Brick: k})
		}
		if describe {
			s.described[n.Name] = d
		}
		return nil
	})
	slices.SortFunc(s.bricks, func(x, y foundBrick) int {
		return strings.Compare(x.node.Name+"/"+x.Ref.Root, y.node.Name+"/"+y.Ref.Root)
	})
	return s
}

// silence returns an error that names the nodes that did not answer.
func (s survey) silence(op, on string) error {
	names := make([]string, 0, len(s.silent))
	errs := make([]error, 0, len(s.silent))
	for name := range s.silent {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		errs = append(errs, s.silent[name])
	}
	return &volume.Error{
		Kind: volume.Unavailable, Op: op, On: on,
		Err:  fmt.Errorf("nobody can tell what is on %s: %w", strings.Join(names, ", "), errors.Join(errs...)),
		Next: "bring its agent and its brick roots back, or take the node out of the pool if it is gone for good",
	}
}

// mostAnswer reports whether more than half of the nodes answered, and their
// glusterd as far as it was asked.
func (b *Backend) mostAnswer(s survey) bool { return 2*b.well(s) > len(b.Nodes) }

func (b *Backend) well(s survey) int {
	well := len(b.Nodes) - len(s.silent)
	for _, d := range s.described {
		if !d.GlusterdReady {
			well--
		}
	}
	return well
}

// spare says that failures of an operation are not the pool's while a few of its
// nodes are away: volumes that need none of them can be made. Where a node hangs,
// and the caller's time is over with it, nobody gets anywhere.
func (b *Backend) spare(ctx context.Context, t *guard.Turn, s survey) {
	if b.mostAnswer(s) && b.well(s) < len(b.Nodes) && ctx.Err() == nil {
		t.Spare()
	}
}

// reachable returns the nodes that answered, in the order in which the volume's
// commands should be given to them.
func (b *Backend) reachable(s survey, name string) []*Node {
	return slices.DeleteFunc(b.ranked(name), func(n *Node) bool { return s.silent[n.Name] != nil })
}

// onAny tries the nodes in turn until one is not unavailable.
func (b *Backend) onAny(nodes []*Node, try func(n *Node) error) error {
	var err error
	for _, n := range nodes {
		if err = try(n); err == nil || !volume.Is(err, volume.Unavailable) {
			return err
		}
		b.log.Debug("a node cannot answer, trying the next", "node", n.Name, "error", err)
	}
	return err
}

// command gives a gluster command to one of the nodes that answered the survey,
// or, where glusterd does not answer there, to the next. Every command given in
// this way can be repeated: the answer that it was done already is success.
func (b *Backend) command(s survey, name string, f func(n agent.Node) error) error {
	nodes := b.reachable(s, name)
	if len(nodes) == 0 {
		return s.silence("give gluster a command", "volume "+name)
	}
	return b.onAny(nodes, func(n *Node) error { return f(n.Agent) })
}

// found is what is there of one volume.
type found struct {
	survey
	// exists is true where Gluster has a volume of that name.
	exists bool
	info   gluster.Volume
	// marked is true where that volume carries our marks for this handle.
	marked bool
	marks  mark.Volume
	// foreign says why the volume is not ours; empty where it is, or where there is none.
	foreign string
}

// find looks for everything that there is of a volume. It asks Gluster only if
// a node has a brick directory of that name, or did not answer: a name that is
// free costs no gluster command. Unavailable where a node that did not answer
// may hold the only trace of it.
func (b *Backend) find(ctx context.Context, h volume.Handle, describe bool) (found, error) {
	f := found{survey: b.ask(ctx, h.Name, describe)}
	f.disown(h)
	if len(f.bricks) == 0 && len(f.silent) == 0 {
		return f, nil
	}
	return f, b.look(ctx, h, &f)
}

// surely returns an error where nothing was found but a node did not answer.
func (f *found) surely(op string, h volume.Handle) error {
	if !f.exists && len(f.bricks) == 0 && len(f.silent) > 0 {
		return f.silence(op, "volume "+h.String())
	}
	return nil
}

// disown drops brick directories that bear the name but belong to another
// handle, such as that of a second pool on the same roots.
func (f *found) disown(h volume.Handle) {
	f.bricks = slices.DeleteFunc(f.bricks, func(k foundBrick) bool {
		other := k.Mark.Handle != h.String()
		if other {
			f.foreign = k.gluster() + " is a brick of " + k.Mark.Handle
		}
		return other
	})
}

// look asks Gluster for the volume and judges whose it is.
func (b *Backend) look(ctx context.Context, h volume.Handle, f *found) error {
	err := b.command(f.survey, h.Name, func(n agent.Node) (err error) {
		f.info, err = n.Volume(ctx, h.Name)
		return err
	})
	switch {
	case volume.Is(err, volume.NotFound):
		f.exists = false
		return nil
	case err != nil:
		return err
	}
	f.exists = true
	if f.marks, f.marked, err = mark.Read(f.info); err != nil {
		return err
	}
	if !f.handedOut() {
		if err := b.secondOpinion(ctx, f); err != nil {
			return err
		}
	}
	switch {
	case f.marks.Released:
		f.foreign = "it was retained when its claim was deleted"
	case f.marked && f.marks.Handle != h:
		f.foreign = "it is marked as " + f.marks.Handle.String()
	case !f.marked && !b.madeFromOurs(f):
		if len(f.silent) > 0 {
			// Ours until it is marked are its bricks, and one may be on a silent node.
			return f.silence("see whose volume it is", "volume "+h.String())
		}
		f.foreign = "it carries no mark of ours"
	}
	return nil
}

// secondOpinion asks the other nodes about a volume that is unfinished by the
// word of one: a node that was away when it was marked or started says so still,
// of a volume that has data.
func (b *Backend) secondOpinion(ctx context.Context, f *found) error {
	for _, n := range b.reachable(f.survey, f.info.Name) {
		info, err := n.Agent.Volume(ctx, f.info.Name)
		if volume.Is(err, volume.Unavailable) || volume.Is(err, volume.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		other := found{info: info}
		if other.marks, other.marked, err = mark.Read(info); err != nil {
			return err
		}
		if other.handedOut() {
			f.info, f.marks, f.marked = other.info, other.marks, other.marked
			return nil
		}
	}
	return nil
}

// madeFromOurs reports whether an unmarked volume is one that a Create of ours ended
// in between making it and marking it: one of its bricks at least is our directory
// for this handle, and the others lie where that says. They may be gone: a deletion
// that came while glusterd was still making the volume has removed those that no
// node's glusterd knew a use of yet.
func (b *Backend) madeFromOurs(f *found) bool {
	var layout []string
	for _, k := range f.info.Bricks {
		if there := f.brickOf(k); there != nil {
			for _, at := range there.Mark.Layout {
				if n, known := b.nodes[at.Node]; known {
					layout = append(layout, n.Address)
				}
			}
		}
	}
	for _, k := range f.info.Bricks {
		planned := slices.Contains(layout, k.Host) && strings.HasSuffix(k.Path, agent.BrickPath("", f.info.Name))
		if !planned && f.brickOf(k) == nil {
			return false
		}
	}
	return len(layout) > 0
}

// brickOf returns the directory that is that brick, or nil where none was found.
func (f *found) brickOf(k gluster.Brick) *foundBrick {
	for i := range f.bricks {
		if f.bricks[i].gluster() == k.String() {
			return &f.bricks[i]
		}
	}
	return nil
}

// uses reports whether the volume that exists has that directory as a brick.
func (f *found) uses(o foundBrick) bool {
	return f.exists && slices.ContainsFunc(f.info.Bricks, func(k gluster.Brick) bool { return k.String() == o.gluster() })
}

// complete returns an error where a node did not answer that holds, or may
// hold, a brick of what was found: what is done without it would have to be
// done again, and after that nobody could tell.
func (f *found) complete(b *Backend, op string, h volume.Handle) error {
	if len(f.silent) == 0 {
		return nil
	}
	needed := func(n *Node) bool {
		return slices.ContainsFunc(f.info.Bricks, func(k gluster.Brick) bool { return k.Host == n.Address }) ||
			slices.ContainsFunc(f.bricks, func(k foundBrick) bool {
				return slices.ContainsFunc(k.Mark.Layout, func(at brick.Place) bool { return at.Node == n.Name })
			})
	}
	for i := range b.Nodes {
		if n := &b.Nodes[i]; f.silent[n.Name] != nil && needed(n) {
			return f.silence(op, "volume "+h.String())
		}
	}
	return f.surely(op, h)
}

// ready reports whether the volume is ours and was once handed out.
func (f *found) ready() bool {
	return f.exists && f.foreign == "" && f.handedOut()
}

// handedOut reports whether the volume was started at least once with its marks set.
func (f *found) handedOut() bool {
	return f.marked && f.info.Status != gluster.StatusCreated
}

// refuseForeign returns an error where the name belongs to a volume that is not ours.
func (f *found) refuseForeign(op string, h volume.Handle, kind volume.Kind) error {
	if f.foreign == "" {
		return nil
	}
	return &volume.Error{
		Kind: kind, Op: op, On: "volume " + h.Name,
		Err:  errors.New("a Gluster volume of this name exists that is not this one: " + f.foreign),
		Next: "rename or remove that volume by hand if it is not needed",
	}
}

// describe returns the volume as the port has it, with servers near a zone first.
func (b *Backend) describe(h volume.Handle, info gluster.Volume, m mark.Volume, state volume.State, near string) volume.Volume {
	v := volume.Volume{
		Handle: h, State: state,
		Size: m.Size, Fingerprint: m.Fingerprint, Class: m.Class, Type: m.Type, GID: m.GID, Created: m.Created,
	}
	hosts := make([]string, 0, len(info.Bricks))
	for _, k := range info.Bricks {
		hosts = append(hosts, k.Host)
		v.Bricks = append(v.Bricks, k.String())
	}
	v.Servers = b.servers(h.Name, hosts, near)
	return v
}

// Get implements volume.Backend.
func (b *Backend) Get(ctx context.Context, h volume.Handle) (volume.Volume, error) {
	const op = "get volume"
	f, err := b.find(ctx, h, false)
	if err == nil {
		err = f.surely(op, h)
	}
	if err != nil {
		return volume.Volume{}, err
	}
	switch {
	case f.ready():
		return b.describe(h, f.info, f.marks, volume.Ready, anywhere), nil
	case f.foreign == "" && (f.exists || len(f.bricks) > 0):
		return b.describe(h, f.info, f.marks, volume.Partial, anywhere), nil
	}
	return volume.Volume{}, &volume.Error{Kind: volume.NotFound, Op: op, On: h.String(), Err: errors.New("there is no such volume")}
}

// List implements volume.Backend with one gluster command, and some for each
// volume that is unfinished.
func (b *Backend) List(ctx context.Context, pool string) ([]volume.Volume, error) {
	var all []gluster.Volume
	err := b.onAny(b.ranked(""), func(n *Node) (err error) {
		all, err = n.Agent.Volumes(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []volume.Volume
	for _, info := range all {
		f := found{exists: true, info: info}
		if f.marks, f.marked, err = mark.Read(info); err == nil && !f.handedOut() && onOurPaths(info) {
			err = b.secondOpinion(ctx, &f)
		}
		if err != nil {
			b.log.WarnContext(ctx, "left a volume out of the list", "volume", info.Name, "error", err)
			continue
		}
		if h := f.marks.Handle; f.ready() && !f.marks.Released && h.Backend == volume.Plain && h.Pool == pool && h.Name == info.Name {
			out = append(out, b.describe(h, f.info, f.marks, volume.Ready, anywhere))
		}
	}
	slices.SortFunc(out, func(x, y volume.Volume) int { return strings.Compare(x.Handle.Name, y.Handle.Name) })
	return out, nil
}

// onOurPaths reports whether the volume's bricks lie where agents make them.
func onOurPaths(info gluster.Volume) bool {
	return !slices.ContainsFunc(info.Bricks, func(k gluster.Brick) bool {
		return !strings.HasSuffix(k.Path, agent.BrickPath("", info.Name))
	})
}
