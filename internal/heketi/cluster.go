package heketi

import (
	"context"
	"errors"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// AnyOf is a Cluster of which any node will do: they are asked in turn until
// one is not unavailable.
type AnyOf []Cluster

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

func onAny[T any](nodes []Cluster, ask func(Cluster) (T, error)) (out T, err error) {
	err = &volume.Error{Kind: volume.Unavailable, Err: errors.New("the pool has no agents")}
	for _, c := range nodes {
		if out, err = ask(c); err == nil || !volume.Is(err, volume.Unavailable) {
			return out, err
		}
	}
	return out, err
}
