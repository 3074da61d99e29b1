package agent

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// BrickHost is what an agent needs of the brick roots of its host; *brick.Host is one.
type BrickHost interface {
	States(ctx context.Context) []brick.RootState
	Bricks(ctx context.Context, volume string) ([]brick.Brick, error)
	Make(ctx context.Context, r brick.MakeRequest) (brick.Brick, error)
	Remove(ctx context.Context, r brick.RemoveRequest) error
	SetQuota(ctx context.Context, ref brick.Ref, q brick.Quota) (brick.Brick, error)
	Init(ctx context.Context, root string) error
	SetPolicy(p brick.Policy) error
	Told() brick.Policy
	Repair(ctx context.Context, want []brick.Expectation) ([]brick.Repaired, error)
}

// Local is this host as a storage node. It implements Node.
type Local struct {
	cfg     Config
	version string
	check   Checker
	bricks  BrickHost
	cluster gluster.Cluster
	facts   facts
	addr    addresses
	log     *slog.Logger

	// ping asks glusterd whether it is there (tests put another one in).
	ping func(ctx context.Context) error
	// certificate returns when the agent's certificate ends and what is wrong with it.
	certificate func() (time.Time, error)
	// commands bounds how many gluster commands run at once: each is a process
	// of tens of megabytes, and glusterd serialises what they ask anyway.
	commands chan struct{}
	// answered is when glusterd last answered, in Unix time.
	answered prometheus.Gauge

	mu             sync.Mutex
	glusterVersion string
}

var _ Node = (*Local)(nil)

// Bounds on what one agent does at once, and how long one part of Describe may take.
const (
	maxCommands     = 8
	describeTimeout = 2 * time.Second
	pingTimeout     = time.Second
)

// LocalOptions put a Local together.
type LocalOptions struct {
	Config  Config
	Version string
	Bricks  BrickHost
	Cluster gluster.Cluster
	Log     *slog.Logger
}

// NewLocal returns this host as a storage node.
func NewLocal(o LocalOptions) (*Local, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	l := &Local{
		cfg: o.Config, version: o.Version, bricks: o.Bricks, cluster: o.Cluster, log: o.Log,
		check:       Checker{Pool: o.Config.Pool, Node: o.Config.Node},
		facts:       facts{proc: "/proc"},
		certificate: func() (time.Time, error) { return time.Time{}, nil },
		commands:    make(chan struct{}, maxCommands),
		answered: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bricklayer_agent_glusterd_answer_timestamp_seconds",
			Help: "When glusterd last answered this agent, in Unix time; 0 where it has not since the agent started.",
		}),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.ping = func(ctx context.Context) error { return pingGlusterd(ctx, o.Config.GlusterdSocket) }
	for _, r := range o.Config.Roots {
		l.check.Roots = append(l.check.Roots, r.Name)
	}
	return l, nil
}

// at names the node in an error.
func (l *Local) at(op, on string, err error) error { return At(l.cfg.Node, op, on, err) }

func onVolume(name string) string { return "volume " + name }

// Bricks implements Node.
func (l *Local) Bricks(ctx context.Context, volumeName string) ([]brick.Brick, error) {
	if err := l.check.BrickVolume(volumeName); err != nil {
		return nil, l.at("list bricks", "", err)
	}
	all, err := l.bricks.Bricks(ctx, volumeName)
	if err != nil {
		// A list that lacks a root would let a caller believe that there is nothing.
		return nil, l.at("list bricks", "", err)
	}
	return all, nil
}

// MakeBrick implements Node.
func (l *Local) MakeBrick(ctx context.Context, r brick.MakeRequest) (brick.Brick, error) {
	err := l.check.Make(r)
	var b brick.Brick
	if err == nil {
		b, err = l.bricks.Make(ctx, r)
	}
	return b, l.at("make brick", onVolume(r.Ref.Volume), err)
}

// RemoveBrick implements Node. Package brick asks InUse before it moves anything.
func (l *Local) RemoveBrick(ctx context.Context, r brick.RemoveRequest) error {
	err := l.check.Remove(r)
	if err == nil {
		err = l.bricks.Remove(ctx, r)
	}
	return l.at("remove brick", onVolume(r.Ref.Volume), err)
}

// SetQuota implements Node.
func (l *Local) SetQuota(ctx context.Context, ref brick.Ref, q brick.Quota) (brick.Brick, error) {
	err := l.check.SetQuota(ref, q)
	var b brick.Brick
	if err == nil {
		b, err = l.bricks.SetQuota(ctx, ref, q)
	}
	return b, l.at("set quota", onVolume(ref.Volume), err)
}

// InitRoot implements Node.
func (l *Local) InitRoot(ctx context.Context, root string) error {
	err := l.check.Root(root)
	if err == nil {
		err = l.bricks.Init(ctx, root)
	}
	return l.at("make a brick root", "", err)
}

// SetPolicy implements Node.
func (l *Local) SetPolicy(ctx context.Context, p brick.Policy) error {
	before, err := l.bricks.Told(), l.bricks.SetPolicy(p)
	if err == nil && before != p {
		l.log.InfoContext(ctx, "the pool's policy for brick roots changed", "overcommitPercent", p.OvercommitPercent, "trashEntriesPerSecond", p.TrashEntriesPerSecond)
	}
	return l.at("set policy", "", err)
}

// InUse reports whether a Gluster volume uses the brick directory at that path
// on this host. Where it cannot tell whose brick that path is, it says yes.
func (l *Local) InUse(ctx context.Context, path string) (bool, error) {
	all, err := l.Volumes(ctx)
	if err != nil {
		return false, err
	}
	for _, v := range all {
		for _, b := range v.Bricks {
			if filepath.Clean(b.Path) == path && l.addr.mayBeOurs(ctx, b.Host) {
				return true, nil
			}
		}
	}
	return false, nil
}

// command runs one gluster command when its turn has come.
func command[T any](ctx context.Context, l *Local, op, name string, checked error, do func() (T, error)) (T, error) {
	var zero T
	on := ""
	if name != "" {
		on = onVolume(name)
	}
	if checked != nil {
		return zero, l.at(op, on, checked)
	}
	select {
	case l.commands <- struct{}{}:
		defer func() { <-l.commands }()
	case <-ctx.Done():
		return zero, l.at(op, on, &volume.Error{
			Kind: volume.Busy, Next: "nothing was changed; repeat the call later",
			Err: fmt.Errorf("%d gluster commands are running and its turn did not come: %w", maxCommands, context.Cause(ctx)),
		})
	}
	v, err := do()
	if err != nil {
		return zero, l.at(op, on, err)
	}
	l.answered.SetToCurrentTime()
	return v, nil
}

// change is command for those that answer nothing.
func (l *Local) change(ctx context.Context, op, name string, checked error, do func() error) error {
	_, err := command(ctx, l, op, name, checked, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

// CreateVolume implements Node.
func (l *Local) CreateVolume(ctx context.Context, r gluster.CreateRequest) error {
	return l.change(ctx, "create volume", r.Name, l.check.Create(r), func() error { return l.cluster.CreateVolume(ctx, r) })
}

// StartVolume implements Node.
func (l *Local) StartVolume(ctx context.Context, name string) error {
	return l.change(ctx, "start volume", name, l.check.Volume(name), func() error { return l.cluster.StartVolume(ctx, name) })
}

// StopVolume implements Node.
func (l *Local) StopVolume(ctx context.Context, name string) error {
	return l.change(ctx, "stop volume", name, l.check.Volume(name), func() error { return l.cluster.StopVolume(ctx, name) })
}

// DeleteVolume implements Node.
func (l *Local) DeleteVolume(ctx context.Context, name string) error {
	return l.change(ctx, "delete volume", name, l.check.Volume(name), func() error { return l.cluster.DeleteVolume(ctx, name) })
}

// SetOptions implements Node.
func (l *Local) SetOptions(ctx context.Context, name string, options []gluster.Option) error {
	return l.change(ctx, "set options", name, l.check.Options(name, options), func() error { return l.cluster.SetOptions(ctx, name, options) })
}

// Volume implements Node.
func (l *Local) Volume(ctx context.Context, name string) (gluster.Volume, error) {
	return command(ctx, l, "find volume", name, l.check.Volume(name), func() (gluster.Volume, error) { return l.cluster.Volume(ctx, name) })
}

// Volumes implements Node.
func (l *Local) Volumes(ctx context.Context) ([]gluster.Volume, error) {
	return command(ctx, l, "list volumes", "", nil, func() ([]gluster.Volume, error) { return l.cluster.Volumes(ctx) })
}

// VolumeStatus implements Node.
func (l *Local) VolumeStatus(ctx context.Context, name string) ([]gluster.BrickStatus, error) {
	return command(ctx, l, "ask volume status", name, l.check.Volume(name), func() ([]gluster.BrickStatus, error) {
		return l.cluster.VolumeStatus(ctx, name)
	})
}

// HealInfo implements Node.
func (l *Local) HealInfo(ctx context.Context, name string) ([]gluster.BrickHeal, error) {
	return command(ctx, l, "ask heal info", name, l.check.Volume(name), func() ([]gluster.BrickHeal, error) {
		return l.cluster.HealInfo(ctx, name)
	})
}

// Peers implements Node.
func (l *Local) Peers(ctx context.Context) ([]gluster.Peer, error) {
	return command(ctx, l, "list peers", "", nil, func() ([]gluster.Peer, error) { return l.cluster.Peers(ctx) })
}

// ProbePeer implements Node.
func (l *Local) ProbePeer(ctx context.Context, host string) error {
	return l.change(ctx, "probe peer", "", l.check.Peer(host), func() error { return l.cluster.ProbePeer(ctx, host) })
}
