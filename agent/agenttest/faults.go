package agenttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/pause"
	"bricklayer.csi/internal/volume"
)

// Verb names a method of agent.Node.
type Verb string

// The verbs.
const (
	Describe     Verb = "Describe"
	Bricks       Verb = "Bricks"
	MakeBrick    Verb = "MakeBrick"
	RemoveBrick  Verb = "RemoveBrick"
	SetQuota     Verb = "SetQuota"
	InitRoot     Verb = "InitRoot"
	SetPolicy    Verb = "SetPolicy"
	CreateVolume Verb = "CreateVolume"
	StartVolume  Verb = "StartVolume"
	StopVolume   Verb = "StopVolume"
	DeleteVolume Verb = "DeleteVolume"
	SetOptions   Verb = "SetOptions"
	Volume       Verb = "Volume"
	Volumes      Verb = "Volumes"
	VolumeStatus Verb = "VolumeStatus"
	HealInfo     Verb = "HealInfo"
	Peers        Verb = "Peers"
	ProbePeer    Verb = "ProbePeer"
)

// Changes reports whether the verb changes anything.
func (v Verb) Changes() bool {
	switch v {
	case MakeBrick, RemoveBrick, SetQuota, InitRoot, SetPolicy, CreateVolume, StartVolume, StopVolume, DeleteVolume, SetOptions, ProbePeer:
		return true
	case Describe, Bricks, Volume, Volumes, VolumeStatus, HealInfo, Peers:
		return false
	}
	return false
}

// Moment is when in a call a hook is called.
type Moment string

// The moments.
const (
	// Before anything was done.
	Before Moment = "before"
	// During is in the middle of a Gluster transaction that changes a volume:
	// its lock is held, and a create has put the volume's ID on the brick
	// directories, where it stays if the hook returns an error.
	During Moment = "during"
	// After everything was done, and done well: an error from here is a lost answer.
	After Moment = "after"
)

// Call is one call of a verb at one moment. In a pattern, what is empty matches all.
type Call struct {
	Node   string
	Verb   Verb
	Volume string
	Moment Moment
	// Number counts the calls of all nodes from 1; it is the same at all moments of a call.
	Number int
}

// String returns "MOMENT VERB VOLUME on NODE".
func (c Call) String() string {
	return fmt.Sprintf("%s %s %s on %s", c.Moment, c.Verb, c.Volume, c.Node)
}

// Matches reports whether the call fits a pattern.
func (c Call) Matches(pattern Call) bool {
	return (pattern.Node == "" || pattern.Node == c.Node) &&
		(pattern.Verb == "" || pattern.Verb == c.Verb) &&
		(pattern.Volume == "" || pattern.Volume == c.Volume) &&
		(pattern.Moment == "" || pattern.Moment == c.Moment) &&
		(pattern.Number == 0 || pattern.Number == c.Number)
}

// Hook is called at every moment of every call, with no lock held, so it may
// use the Cluster. What it returns the call returns, unless nil; see Moment
// for what has been done by then. It may wait, if it heeds ctx.
type Hook func(ctx context.Context, c Call) error

// Fail sets the hook; nil takes it away.
func (c *Cluster) Fail(h Hook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hook = h
}

// ErrInjected is in the chain of every error that a fault of this package made.
var ErrInjected = errors.New("injected by the test")

// Lost is what a caller gets whose connection broke: the outcome is unknown.
func Lost(node string) error {
	return &volume.Error{
		Kind: volume.Unavailable, Op: "call agent", On: "node " + node,
		Err:  fmt.Errorf("connection lost: %w", ErrInjected),
		Next: "see whether the agent runs and repeat the call",
	}
}

// FailTimes returns a hook that gives err at the first times calls that match;
// times below 1 means always. A nil err means Lost.
func FailTimes(pattern Call, times int, err error) Hook {
	count := counter(times)
	return func(_ context.Context, c Call) error {
		if !c.Matches(pattern) || !count() {
			return nil
		}
		if err == nil {
			return Lost(c.Node)
		}
		return err
	}
}

// LoseAnswer returns a hook under which the first matching call is performed
// but its answer is lost.
func LoseAnswer(pattern Call) Hook {
	pattern.Moment = After
	return FailTimes(pattern, 1, nil)
}

// Do returns a hook that calls f at the first matching call, such as a
// context's cancel function (the caller dies there) or SetState. The call goes
// on, and fails by itself if its context or its node has gone.
func Do(pattern Call, f func()) Hook {
	count := counter(1)
	return func(_ context.Context, c Call) error {
		if c.Matches(pattern) && count() {
			f()
		}
		return nil
	}
}

// Delay returns a hook that makes every matching call wait.
func Delay(pattern Call, d time.Duration) Hook {
	return func(ctx context.Context, c Call) error {
		if !c.Matches(pattern) {
			return nil
		}
		if pause.For(ctx, d) != nil {
			return ended(ctx, c.Node)
		}
		return nil
	}
}

// All returns a hook that calls each hook in turn; the first error counts.
func All(hooks ...Hook) Hook {
	return func(ctx context.Context, c Call) error {
		for _, h := range hooks {
			if err := h(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
}

// counter returns a function that is true the first times times; always where
// times is below 1.
func counter(times int) func() bool {
	if times < 1 {
		return func() bool { return true }
	}
	left := make(chan struct{}, times)
	for range times {
		left <- struct{}{}
	}
	return func() bool {
		select {
		case <-left:
			return true
		default:
			return false
		}
	}
}

// State is which parts of a node run.
type State uint8

// The states.
const (
	// Up is a node on which everything runs.
	Up State = iota
	// AgentDown is a node whose agent does not answer; its bricks and glusterd run.
	AgentDown
	// GlusterdDown is a node whose glusterd does not answer; its bricks run.
	GlusterdDown
	// Off is a node that does not answer at all.
	Off
)

func (s State) agent() bool    { return s == Up || s == GlusterdDown }
func (s State) glusterd() bool { return s == Up || s == AgentDown }
func (s State) bricks() bool   { return s != Off }

// SetState sets which parts of a node run.
func (c *Cluster) SetState(node string, s State) {
	c.change(node, "", func(n *Node, _ *root) { n.state = s })
}

// RejectPeer makes the other nodes reject a node as a peer, or take it back.
func (c *Cluster) RejectPeer(node string, rejected bool) {
	c.change(node, "", func(n *Node, _ *root) { n.rejected = rejected })
}

// LeaveTrustedPool makes a node one that was never probed: alone in a trusted pool
// of its own.
func (c *Cluster) LeaveTrustedPool(node string) {
	c.change(node, "", func(n *Node, _ *root) { n.trusted = node })
}

// SetMounted mounts or unmounts a brick root. What is on it stays.
func (c *Cluster) SetMounted(node, rootName string, mounted bool) {
	c.change(node, rootName, func(_ *Node, r *root) { r.mounted = mounted })
}

// ReplaceDisk puts a new file system in the place of a root's, with files of somebody
// else's on it, if any.
func (c *Cluster) ReplaceDisk(node, rootName string, found ...string) {
	c.change(node, rootName, func(_ *Node, r *root) {
		r.mounted, r.blank, r.found = false, true, found
		r.bricks, r.trash, r.archive, r.foreign = map[string]*fakeBrick{}, nil, nil, 0
	})
}

// Fill writes bytes to a root beside all bricks, as an administrator might.
func (c *Cluster) Fill(node, rootName string, bytes volume.Size) {
	c.change(node, rootName, func(_ *Node, r *root) { r.foreign = bytes })
}

// SetMemory sets what a node says of its memory: bytes, and the pressure in percent.
func (c *Cluster) SetMemory(node string, total, available int64, pressure float64) {
	c.change(node, "", func(n *Node, _ *root) { n.memory = memory{total, available, pressure} })
}

// SetClock sets how far a node's clock is ahead, and whether it says it is synchronised.
func (c *Cluster) SetClock(node string, ahead time.Duration, synchronised bool) {
	c.change(node, "", func(n *Node, _ *root) { n.clockAhead, n.clockSynchronised = ahead, synchronised })
}

// SetProtocol makes a node's agent one of another protocol version.
func (c *Cluster) SetProtocol(node string, version int) {
	c.change(node, "", func(n *Node, _ *root) { n.protocol = version })
}

// WipeBrick empties a brick directory as a replaced disk would, and has Gluster
// heal it: the data come back, the quota and the project do not.
func (c *Cluster) WipeBrick(node string, ref brick.Ref) {
	c.onBrick(node, ref, func(b *fakeBrick) { b.quota, b.projectID, b.wiped = brick.Quota{}, 0, true })
}

// KillBrick kills the brick process of a volume on a node, until the volume is started again.
func (c *Cluster) KillBrick(node string, ref brick.Ref) {
	c.onBrick(node, ref, func(b *fakeBrick) { b.dead = true })
}

// LoseBricks takes away the brick directories of a volume that Gluster still has, on
// the nodes named, or on all where none is: as where a node comes back with the
// record of a volume that was deleted meanwhile, and its peers take it over.
func (c *Cluster) LoseBricks(name string, nodes ...string) {
	for _, n := range c.nodes {
		if len(nodes) > 0 && !slices.Contains(nodes, n.cfg.Name) {
			continue
		}
		for _, r := range n.roots {
			c.change(n.cfg.Name, r.cfg.Name, func(_ *Node, r *root) { delete(r.bricks, name) })
		}
	}
}

// ForgeMark has a brick directory say that it belongs to another handle, as where
// two pools have the same roots.
func (c *Cluster) ForgeMark(node string, ref brick.Ref, handle string) {
	c.onBrick(node, ref, func(b *fakeBrick) { b.mark.Handle = handle })
}

// MissStart has a node take a started volume for one that never was, until it is
// started once more.
func (c *Cluster) MissStart(node, name string) {
	c.change(node, "", func(n *Node, _ *root) { c.volumes[name].missed = n.cfg.Name })
}

// SetHeal sets how many entries of a brick wait to be healed and are in split-brain.
func (c *Cluster) SetHeal(node string, ref brick.Ref, pending, splitBrain int64) {
	c.onBrick(node, ref, func(b *fakeBrick) { b.pending, b.splitBrain = pending, splitBrain })
}

// SetUsed sets what a brick directory holds: bytes and inodes.
func (c *Cluster) SetUsed(node string, ref brick.Ref, bytes volume.Size, inodes int64) {
	c.onBrick(node, ref, func(b *fakeBrick) { b.used, b.inodes = bytes, inodes })
}

// LockVolume holds another administrator's transaction on a volume until the
// returned function is called.
func (c *Cluster) LockVolume(name string) (unlock func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.locked[name] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.locked, name)
	}
}

func (c *Cluster) onBrick(node string, ref brick.Ref, f func(*fakeBrick)) {
	c.change(node, ref.Root, func(_ *Node, r *root) {
		if b := r.find(ref.Volume); b != nil {
			f(b)
		}
	})
}

// change calls f with the lock held; names that do not exist change nothing.
func (c *Cluster) change(node, rootName string, f func(*Node, *root)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.Node(node)
	if n == nil {
		return
	}
	r := n.root(rootName)
	if r == nil && rootName != "" {
		return
	}
	f(n, r)
}
