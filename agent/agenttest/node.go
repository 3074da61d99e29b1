package agenttest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// Node is one fake storage node. It implements agent.Node.
type Node struct {
	c     *Cluster
	cfg   NodeConfig
	check agent.Checker

	// The rest is guarded by c.mu.
	state             State
	rejected          bool
	trusted           string // the trusted pool that it is in; empty is the cluster's
	roots             []*root
	memory            memory
	clockAhead        time.Duration
	clockSynchronised bool
	protocol          int // 0 is ours
	policy            brick.Policy
}

var _ agent.Node = (*Node)(nil)

type memory struct {
	total, available int64
	pressure         float64
}

var defaultMemory = memory{total: 1500 << 20, available: 1200 << 20}

// firstProject is the smallest XFS project ID that is given out.
const firstProject = 1 << 20

// Name returns the node's name.
func (n *Node) Name() string { return n.cfg.Name }

func (n *Node) root(name string) *root {
	for _, r := range n.roots {
		if r.cfg.Name == name {
			return r
		}
	}
	return nil
}

// call runs one verb: the hook before, do with the lock held, the hook after.
func call[T any](ctx context.Context, n *Node, verb Verb, volumeName string, checked error, do func() (T, error)) (T, error) {
	var zero T
	c, err := n.enter(ctx, verb, volumeName)
	if err != nil {
		return zero, err
	}
	if checked != nil {
		return zero, n.fail(verb, volumeName, checked)
	}
	n.c.mu.Lock()
	v, err := do()
	n.c.mu.Unlock()
	if err != nil {
		return zero, n.fail(verb, volumeName, err)
	}
	if err := n.leave(ctx, c); err != nil {
		return zero, err
	}
	return v, nil
}

// enter counts the call, calls the hook, and refuses where the caller or the agent is gone.
func (n *Node) enter(ctx context.Context, verb Verb, volumeName string) (Call, error) {
	n.c.mu.Lock()
	n.c.calls++
	c := Call{Node: n.cfg.Name, Verb: verb, Volume: volumeName, Moment: Before, Number: n.c.calls}
	n.c.mu.Unlock()
	if err := ended(ctx, n.cfg.Name); err != nil {
		return c, err
	}
	if err := n.moment(ctx, c); err != nil {
		return c, err
	}
	return c, n.alive(ctx)
}

func (n *Node) leave(ctx context.Context, c Call) error {
	c.Moment = After
	if err := n.moment(ctx, c); err != nil {
		return err
	}
	return n.alive(ctx)
}

func (n *Node) moment(ctx context.Context, c Call) error {
	n.c.mu.Lock()
	h := n.c.hook
	n.c.mu.Unlock()
	if h == nil {
		return nil
	}
	return h(ctx, c)
}

// alive refuses where the caller has gone or the agent does not answer, before
// or in the middle of a call.
func (n *Node) alive(ctx context.Context) error {
	if err := ended(ctx, n.cfg.Name); err != nil {
		return err
	}
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if !n.state.agent() {
		return &volume.Error{
			Kind: volume.Unavailable, Op: "call agent", On: "node " + n.cfg.Name,
			Err:  errors.New("connection refused"),
			Next: "see whether the node is up and its agent runs",
		}
	}
	if n.protocol != 0 && n.protocol != agent.Protocol {
		return agent.WrongProtocol(n.cfg.Name, n.protocol)
	}
	return nil
}

func ended(ctx context.Context, node string) error {
	if ctx.Err() == nil {
		return nil
	}
	return &volume.Error{
		Kind: volume.Unavailable, Op: "call agent", On: "node " + node, Err: context.Cause(ctx),
		Next: "the outcome is unknown: repeat the call",
	}
}

func (n *Node) fail(verb Verb, volumeName string, err error) error {
	on := ""
	if volumeName != "" {
		on = "volume " + volumeName
	}
	return agent.At(n.cfg.Name, verb.phrase(), on, err)
}

// phrase turns "MakeBrick" into "make brick".
func (v Verb) phrase() string {
	var b strings.Builder
	for i, r := range string(v) {
		if r >= 'A' && r <= 'Z' && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strings.ToLower(string(r)))
	}
	return b.String()
}

// Describe implements agent.Node.
func (n *Node) Describe(ctx context.Context) (agent.Description, error) {
	return call(ctx, n, Describe, "", nil, func() (agent.Description, error) {
		now := n.c.cfg.Now().Add(n.clockAhead)
		d := agent.Description{
			Node: n.cfg.Name, Pool: n.c.cfg.Pool, Version: "fake", Protocol: agent.Protocol,
			GlusterdReady: n.state.glusterd(),
			MemoryTotal:   n.memory.total, MemoryAvailable: n.memory.available, MemoryPressure: n.memory.pressure,
			Clock: now, ClockSynchronised: n.clockSynchronised, Policy: n.policy,
			CertificateExpires: now.AddDate(1, 0, 0), Load: new(0.5),
		}
		if d.GlusterdReady {
			d.GlusterVersion = "10.3"
		} else {
			d.Problems = append(d.Problems, "glusterd does not answer")
		}
		if !n.clockSynchronised {
			d.Problems = append(d.Problems, "the clock is not synchronised")
		}
		for _, r := range n.roots {
			s := n.rootState(r)
			if s.Problem != "" {
				d.Problems = append(d.Problems, "root "+s.Name+": "+s.Problem)
			}
			d.Roots = append(d.Roots, s)
		}
		d.BrickProcesses = n.brickProcesses()
		d.BrickMemory = int64(d.BrickProcesses) * 20 << 20
		return d, nil
	})
}

func (n *Node) rootState(r *root) brick.RootState {
	s := brick.RootState{Name: r.cfg.Name, Path: r.cfg.Path}
	if !r.mounted {
		s.Problem, s.Blank = "it carries no marker: is the disk mounted?", true
		return s
	}
	s.ID, s.FileSystem, s.Quota = r.id, "xfs", !r.cfg.NoQuota
	s.Options = []string{"rw", "noatime", "inode64"}
	if s.Quota {
		s.Options = append(s.Options, "prjquota")
	}
	s.Total, s.Used = r.cfg.Size, r.used()
	s.Free = max(0, s.Total-s.Used)
	s.Committed = r.committed()
	if s.Free > 0 {
		s.Available = max(0, n.promisable(r)-s.Committed)
	}
	s.Bricks, s.Trash = len(r.bricks), len(r.trash)
	for _, b := range r.bricks {
		s.GIDs = append(s.GIDs, b.gid)
	}
	slices.Sort(s.GIDs)
	s.GIDs = slices.Compact(s.GIDs)
	return s
}

func (n *Node) brickProcesses() int {
	count := 0
	for _, v := range n.c.volumes {
		for _, b := range v.request.Bricks {
			if b.Host == n.cfg.Address && n.c.online(v, b) {
				count++
			}
		}
	}
	return count
}

// Bricks implements agent.Node.
func (n *Node) Bricks(ctx context.Context, volumeName string) ([]brick.Brick, error) {
	return call(ctx, n, Bricks, volumeName, n.check.BrickVolume(volumeName), func() ([]brick.Brick, error) {
		var all []brick.Brick
		for _, r := range n.roots {
			if !r.mounted {
				return nil, notMounted(r)
			}
			for name, b := range r.bricks {
				if volumeName == "" || name == volumeName {
					all = append(all, r.show(b))
				}
			}
		}
		slices.SortFunc(all, func(a, b brick.Brick) int {
			return strings.Compare(a.Ref.Root+"/"+a.Ref.Volume, b.Ref.Root+"/"+b.Ref.Volume)
		})
		return all, nil
	})
}

func (r *root) show(b *fakeBrick) brick.Brick {
	mark := b.mark
	mark.Layout = slices.Clone(mark.Layout)
	shown := brick.Brick{Ref: b.ref, Mark: mark, Path: agent.BrickPath(r.cfg.Path, b.ref.Volume), ProjectID: b.projectID}
	if b.projectID != 0 {
		shown.Quota, shown.Used, shown.UsedInodes = b.quota, b.used, b.inodes
	}
	if b.wiped {
		shown.Problem = "its quota is not in force"
	}
	return shown
}

func notMounted(r *root) error {
	return &volume.Error{
		Kind: volume.Precondition, Op: "open brick root", On: "root " + r.cfg.Name,
		Err:  fmt.Errorf("%s carries no marker", r.cfg.Path),
		Next: "is the disk mounted? If it is new, run bricklayer agent init",
	}
}

// MakeBrick implements agent.Node.
func (n *Node) MakeBrick(ctx context.Context, r brick.MakeRequest) (brick.Brick, error) {
	return call(ctx, n, MakeBrick, r.Ref.Volume, n.check.Make(r), func() (brick.Brick, error) {
		for _, other := range n.roots {
			b := other.find(r.Ref.Volume)
			if b == nil || other.cfg.Name == r.Ref.Root && b.mark.Same(r.Mark) {
				continue
			}
			return brick.Brick{}, &volume.Error{
				Kind: volume.Exists, Op: "make brick", On: "root " + other.cfg.Name,
				Err:  fmt.Errorf("volume %s has a brick with another mark here: %s, %v", r.Ref.Volume, b.mark.Handle, b.mark.Size),
				Next: "it was made to another specification; delete that volume or choose another name",
			}
		}
		on := n.root(r.Ref.Root)
		if !on.mounted {
			return brick.Brick{}, notMounted(on)
		}
		if b := on.find(r.Ref.Volume); b != nil {
			return on.show(b), nil
		}
		if !r.Enforce {
			r.Quota = brick.Quota{}
		} else if on.cfg.NoQuota {
			return brick.Brick{}, noQuota(on)
		}
		if err := n.room(on, r.Quota.Bytes); err != nil {
			return brick.Brick{}, err
		}
		b := &fakeBrick{ref: r.Ref, mark: r.Mark, quota: r.Quota, gid: r.Mark.GID, mode: r.Mode}
		b.mark.Layout = slices.Clone(r.Mark.Layout)
		if !on.cfg.NoQuota {
			b.projectID = on.freeProject()
		}
		on.bricks[r.Ref.Volume] = b
		return on.show(b), nil
	})
}

func noQuota(r *root) error {
	return &volume.Error{
		Kind: volume.Precondition, Op: "set quota", On: "root " + r.cfg.Name,
		Err:  errors.New("project quotas are not enabled on " + r.cfg.Path),
		Next: "mount it with prjquota, or say quota: none in the class",
	}
}

// room refuses where a root cannot promise that many more bytes.
func (n *Node) room(r *root, more volume.Size) error {
	if free := n.promisable(r) - r.committed(); more > free || r.used() >= r.cfg.Size {
		return &volume.Error{
			Kind: volume.Exhausted, Op: "make room", On: "root " + r.cfg.Name,
			Err: fmt.Errorf("%v more are asked for, %v of %v are uncommitted and %v are free",
				more, max(0, free), r.cfg.Size, max(0, r.cfg.Size-r.used())),
			Next: "add a brick root or delete volumes",
		}
	}
	return nil
}

// promisable is the sum of quotas that a root may carry beside what others wrote to it.
func (n *Node) promisable(r *root) volume.Size {
	return r.cfg.Size/100*volume.Size(cmp.Or(n.policy.OvercommitPercent, brick.DefaultOvercommitPercent)) - r.foreign
}

func (r *root) freeProject() uint32 {
	taken := map[uint32]bool{}
	r.each(func(_ string, b *fakeBrick) { taken[b.projectID] = true })
	id := uint32(firstProject)
	for taken[id] {
		id++
	}
	return id
}

// RemoveBrick implements agent.Node.
func (n *Node) RemoveBrick(ctx context.Context, r brick.RemoveRequest) error {
	_, err := call(ctx, n, RemoveBrick, r.Ref.Volume, n.check.Remove(r), func() (struct{}, error) {
		on := n.root(r.Ref.Root)
		if !on.mounted {
			return struct{}{}, notMounted(on)
		}
		b := on.find(r.Ref.Volume)
		if b == nil {
			return struct{}{}, nil
		}
		if !n.state.glusterd() {
			return struct{}{}, daemonDown("volume info all")
		}
		if v := n.c.user(gluster.Brick{Host: n.cfg.Address, Path: agent.BrickPath(on.cfg.Path, r.Ref.Volume)}); v != "" {
			return struct{}{}, &volume.Error{
				Kind: volume.Precondition, Op: "remove brick", On: "root " + on.cfg.Name,
				Err: fmt.Errorf("the Gluster volume %s still uses it", v), Next: "delete the Gluster volume first",
			}
		}
		delete(on.bricks, r.Ref.Volume)
		switch {
		case r.Mode == brick.ToArchive:
			on.archive = append(on.archive, b)
		case n.c.cfg.KeepTrash:
			on.trash = append(on.trash, b)
		}
		return struct{}{}, nil
	})
	return err
}

// SetQuota implements agent.Node.
func (n *Node) SetQuota(ctx context.Context, ref brick.Ref, q brick.Quota) (brick.Brick, error) {
	return call(ctx, n, SetQuota, ref.Volume, n.check.SetQuota(ref, q), func() (brick.Brick, error) {
		on := n.root(ref.Root)
		if !on.mounted {
			return brick.Brick{}, notMounted(on)
		}
		b := on.find(ref.Volume)
		if b == nil {
			return brick.Brick{}, &volume.Error{
				Kind: volume.NotFound, Op: "set quota", On: "root " + on.cfg.Name,
				Err: errors.New("there is no brick directory of volume " + ref.Volume),
			}
		}
		if on.cfg.NoQuota {
			return brick.Brick{}, noQuota(on)
		}
		if q.Bytes != 0 && q.Bytes < b.used || q.Inodes != 0 && q.Inodes < b.inodes {
			return brick.Brick{}, &volume.Error{
				Kind: volume.Precondition, Op: "set quota", On: "root " + on.cfg.Name,
				Err: fmt.Errorf("%v and %d inodes are used, more than the quota asked for", b.used, b.inodes),
			}
		}
		if q.Bytes > b.quota.Bytes {
			if err := n.room(on, q.Bytes-b.quota.Bytes); err != nil {
				return brick.Brick{}, err
			}
		}
		b.quota, b.wiped = q, false
		if b.projectID == 0 {
			b.projectID = on.freeProject()
		}
		return on.show(b), nil
	})
}

// InitRoot implements agent.Node.
func (n *Node) InitRoot(ctx context.Context, root string) error {
	_, err := call(ctx, n, InitRoot, "", n.check.Root(root), func() (struct{}, error) {
		r := n.root(root)
		var err error
		switch {
		case r.mounted:
			return struct{}{}, nil
		case !r.blank:
			err = errors.New("it is not a mount point: it lies on /dev/sda1, mounted at /")
		case len(r.found) > 0:
			err = fmt.Errorf("it is not empty: %q", r.found)
		case r.cfg.NoQuota:
			return struct{}{}, noQuota(r)
		default:
			r.mounted, r.blank = true, false
			r.id += "-new"
			return struct{}{}, nil
		}
		return struct{}{}, &volume.Error{Kind: volume.Precondition, Op: "make a brick root", On: "brick root " + root, Err: err, Next: "give Bricklayer an empty file system of its own"}
	})
	return err
}

// SetPolicy implements agent.Node.
func (n *Node) SetPolicy(ctx context.Context, p brick.Policy) error {
	_, err := call(ctx, n, SetPolicy, "", p.Validate(), func() (struct{}, error) {
		n.policy = p
		return struct{}{}, nil
	})
	return err
}

// EmptyTrash empties the trash of all nodes: only then their quotas are free.
func (c *Cluster) EmptyTrash() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		for _, r := range n.roots {
			r.trash = nil
		}
	}
}
