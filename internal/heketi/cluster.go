package heketi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// Cluster is what the backend asks of Gluster itself, past heketi, where the
// pool has agents. It stops and deletes a volume only where heketi cannot.
type Cluster interface {
	// Peers returns all peers, the one that answers among them. It is an error
	// where those that answer do not agree on who they are.
	Peers(ctx context.Context) ([]gluster.Peer, error)
	Volumes(ctx context.Context) ([]gluster.Volume, error)
	Volume(ctx context.Context, name string) (gluster.Volume, error)
	VolumeStatus(ctx context.Context, name string) ([]gluster.BrickStatus, error)
	HealInfo(ctx context.Context, name string) ([]gluster.BrickHeal, error)
	StopVolume(ctx context.Context, name string) error
	DeleteVolume(ctx context.Context, name string) error
}

// peersTime is what a node has to tell its peers.
const peersTime = 3 * time.Second

// AnyOf is a Cluster of which any node will do: they are asked in turn until
// one is not unavailable.
type AnyOf []Cluster

// Peers implements Cluster. Here all nodes are asked: each one calls itself
// localhost, and a glusterd that has lost its configuration knows no peers and
// would say that there are no volumes.
func (a AnyOf) Peers(ctx context.Context) ([]gluster.Peer, error) {
	var (
		all   []gluster.Peer
		first map[string]bool
		errs  []error
	)
	// At once, and not for long: a node that hangs is one that cannot be asked.
	ctx, cancel := context.WithTimeoutCause(ctx, peersTime, fmt.Errorf("no answer within %s", peersTime))
	defer cancel()
	told, failed := make([][]gluster.Peer, len(a)), make([]error, len(a))
	var asking sync.WaitGroup
	for i, c := range a {
		asking.Go(func() { told[i], failed[i] = c.Peers(ctx) })
	}
	asking.Wait()
	for i, peers := range told {
		if failed[i] != nil {
			errs = append(errs, failed[i])
			continue
		}
		known := map[string]bool{}
		for _, p := range peers {
			known[p.UUID] = true
		}
		if first == nil {
			first = known
		}
		if !maps.Equal(first, known) {
			return nil, &volume.Error{
				Kind: volume.Precondition, Op: "list peers", On: "the pool's storage nodes",
				Err:  fmt.Errorf("they are not one Gluster cluster: one knows %d peers, another %d, and not the same", len(first), len(known)),
				Next: "compare gluster pool list on all of them, and mend it",
			}
		}
		all = append(all, peers...)
	}
	if first == nil {
		return nil, &volume.Error{Kind: volume.Unavailable, Op: "list peers", Err: errors.Join(append(errs, errors.New("no agent of the pool answers"))...)}
	}
	return all, nil
}

// Volumes implements Cluster.
func (a AnyOf) Volumes(ctx context.Context) ([]gluster.Volume, error) {
	return onAny(a, func(c Cluster) ([]gluster.Volume, error) { return c.Volumes(ctx) })
}

// Volume implements Cluster.
func (a AnyOf) Volume(ctx context.Context, name string) (gluster.Volume, error) {
	return onAny(a, func(c Cluster) (gluster.Volume, error) { return c.Volume(ctx, name) })
}

// VolumeStatus implements Cluster.
func (a AnyOf) VolumeStatus(ctx context.Context, name string) ([]gluster.BrickStatus, error) {
	return onAny(a, func(c Cluster) ([]gluster.BrickStatus, error) { return c.VolumeStatus(ctx, name) })
}

// HealInfo implements Cluster.
func (a AnyOf) HealInfo(ctx context.Context, name string) ([]gluster.BrickHeal, error) {
	return onAny(a, func(c Cluster) ([]gluster.BrickHeal, error) { return c.HealInfo(ctx, name) })
}

// StopVolume implements Cluster.
func (a AnyOf) StopVolume(ctx context.Context, name string) error {
	_, err := onAny(a, func(c Cluster) (struct{}, error) { return struct{}{}, c.StopVolume(ctx, name) })
	return err
}

// DeleteVolume implements Cluster.
func (a AnyOf) DeleteVolume(ctx context.Context, name string) error {
	_, err := onAny(a, func(c Cluster) (struct{}, error) { return struct{}{}, c.DeleteVolume(ctx, name) })
	return err
}

func onAny[T any](nodes []Cluster, ask func(Cluster) (T, error)) (out T, err error) {
	err = &volume.Error{Kind: volume.Unavailable, Err: errors.New("the pool has no agents")}
	for _, c := range nodes {
		if out, err = ask(c); err == nil || !volume.Is(err, volume.Unavailable) {
			return out, err
		}
	}
	return out, err
}

// accept turns the refusals that are named into success.
func accept(err error, reasons ...gluster.Reason) error {
	var refused *gluster.Error
	for _, r := range reasons {
		if errors.As(err, &refused) && refused.Reason == r {
			return nil
		}
	}
	return err
}
