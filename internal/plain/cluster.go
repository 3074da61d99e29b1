package plain

import (
	"context"

	"bricklayer.csi/internal/gluster"
)

// Cluster answers questions about the pool's Gluster cluster through whichever
// agent can.
type Cluster struct{ b *Backend }

// Cluster returns the Gluster cluster below the pool, to be asked only.
func (b *Backend) Cluster() Cluster { return Cluster{b} }

// Volumes returns every volume of the cluster.
func (c Cluster) Volumes(ctx context.Context) (all []gluster.Volume, err error) {
	err = c.b.onAny(c.b.ranked(""), func(n *Node) (err error) { all, err = n.Agent.Volumes(ctx); return err })
	return all, err
}

// Volume returns one volume.
func (c Cluster) Volume(ctx context.Context, name string) (v gluster.Volume, err error) {
	err = c.b.onAny(c.b.ranked(name), func(n *Node) (err error) { v, err = n.Agent.Volume(ctx, name); return err })
	return v, err
}

// VolumeStatus returns the state of a volume's brick processes.
func (c Cluster) VolumeStatus(ctx context.Context, name string) (s []gluster.BrickStatus, err error) {
	err = c.b.onAny(c.b.ranked(name), func(n *Node) (err error) { s, err = n.Agent.VolumeStatus(ctx, name); return err })
	return s, err
}

// HealInfo returns what waits to be healed.
func (c Cluster) HealInfo(ctx context.Context, name string) (h []gluster.BrickHeal, err error) {
	err = c.b.onAny(c.b.ranked(name), func(n *Node) (err error) { h, err = n.Agent.HealInfo(ctx, name); return err })
	return h, err
}
