package heketi

import (
	"context"
	"errors"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// Cluster is what the backend asks of Gluster itself, past heketi, where the
// pool has agents. It stops and deletes a volume only where heketi cannot.
type Cluster interface {
	Volumes(ctx context.Context) ([]gluster.Volume, error)
	Volume(ctx context.Context, name string) (gluster.Volume, error)
	VolumeStatus(ctx context.Context, name string) ([]gluster.BrickStatus, error)
	HealInfo(ctx context.Context, name string) ([]gluster.BrickHeal, error)
	StopVolume(ctx context.Context, name string) error
	DeleteVolume(ctx context.Context, name string) error
}

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
