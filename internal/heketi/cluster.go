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

// patience is how long a node that does not answer keeps the others from being asked,
// or from being heard. It is no limit: where all are slow, they have their caller's time.
const patience = 3 * time.Second

// AnyOf is a Cluster of which any node will do: they are asked in turn until
// one is not unavailable. A question goes to the next also where a node keeps it
// waiting; what changes something never does.
type AnyOf []Cluster

// Peers implements Cluster. Here all nodes are asked: each one calls itself
// localhost, and a glusterd that has lost its configuration knows no peers and
// would say that there are no volumes.
func (a AnyOf) Peers(ctx context.Context) ([]gluster.Peer, error) {
	var (
		all     []gluster.Peer
		first   map[string]bool
		errs    []error
		asking  sync.WaitGroup
		waiting sync.Once
	)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	told, failed := make([][]gluster.Peer, len(a)), make([]error, len(a))
	for i, c := range a {
		asking.Go(func() {
			if told[i], failed[i] = c.Peers(ctx); failed[i] == nil {
				waiting.Do(func() {
					time.AfterFunc(patience, func() { cancel(fmt.Errorf("no answer %s after another node's", patience)) })
				})
			}
		})
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
	return onAny(ctx, a, func(ctx context.Context, c Cluster) ([]gluster.Volume, error) { return c.Volumes(ctx) })
}

// Volume implements Cluster.
func (a AnyOf) Volume(ctx context.Context, name string) (gluster.Volume, error) {
	return onAny(ctx, a, func(ctx context.Context, c Cluster) (gluster.Volume, error) { return c.Volume(ctx, name) })
}

// VolumeStatus implements Cluster.
func (a AnyOf) VolumeStatus(ctx context.Context, name string) ([]gluster.BrickStatus, error) {
	return onAny(ctx, a, func(ctx context.Context, c Cluster) ([]gluster.BrickStatus, error) { return c.VolumeStatus(ctx, name) })
}

// HealInfo implements Cluster.
func (a AnyOf) HealInfo(ctx context.Context, name string) ([]gluster.BrickHeal, error) {
	return onAny(ctx, a, func(ctx context.Context, c Cluster) ([]gluster.BrickHeal, error) { return c.HealInfo(ctx, name) })
}

// StopVolume implements Cluster.
func (a AnyOf) StopVolume(ctx context.Context, name string) error {
	return inTurn(a, func(c Cluster) error { return c.StopVolume(ctx, name) })
}

// DeleteVolume implements Cluster.
func (a AnyOf) DeleteVolume(ctx context.Context, name string) error {
	return inTurn(a, func(c Cluster) error { return c.DeleteVolume(ctx, name) })
}

// onAny asks the nodes until one is not unavailable: the next one when a node is, or
// has kept the question waiting.
func onAny[T any](ctx context.Context, nodes []Cluster, ask func(context.Context, Cluster) (T, error)) (out T, err error) {
	type answer struct {
		out T
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(nodes))
	asked, open := 0, 0
	next := func() {
		if asked < len(nodes) {
			c := nodes[asked]
			asked, open = asked+1, open+1
			go func() {
				var a answer
				a.out, a.err = ask(ctx, c)
				answers <- a
			}()
		}
	}
	err = errNoAgents
	slow := time.NewTicker(patience)
	defer slow.Stop()
	for next(); open > 0; {
		select {
		case a := <-answers:
			open--
			if out, err = a.out, a.err; err == nil || !volume.Is(err, volume.Unavailable) {
				return out, err
			}
			slow.Reset(patience)
			next()
		case <-slow.C:
			next()
		}
	}
	return out, err
}

// inTurn has one node at a time do something, until one is not unavailable.
func inTurn(nodes []Cluster, do func(Cluster) error) error {
	err := errNoAgents
	for _, c := range nodes {
		if err = do(c); !volume.Is(err, volume.Unavailable) {
			return err
		}
	}
	return err
}

var errNoAgents error = &volume.Error{Kind: volume.Unavailable, Err: errors.New("the pool has no agents")}

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
