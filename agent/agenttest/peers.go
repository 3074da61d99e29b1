package agenttest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"bricklayer.csi/internal/gluster"
)

// peers returns the nodes of this one's trusted pool, itself included.
func (n *Node) peers() []*Node {
	var all []*Node
	for _, p := range n.c.nodes {
		if p.trusted == n.trusted {
			all = append(all, p)
		}
	}
	return all
}

// has reports whether a volume is of this node's trusted pool. One whose bricks lie
// on nodes that nobody knows is the cluster's.
func (n *Node) has(v *fakeVolume) bool {
	of := ""
	if len(v.request.Bricks) > 0 {
		if p := n.c.byAddress(v.request.Bricks[0].Host); p != nil {
			of = p.trusted
		}
	}
	return of == n.trusted
}

// Peers implements gluster.Cluster.
func (n *Node) Peers(ctx context.Context) ([]gluster.Peer, error) {
	return query(ctx, n, Peers, "", "pool list", nil, func() ([]gluster.Peer, error) {
		var all []gluster.Peer
		for i, p := range n.c.nodes {
			if p.trusted != n.trusted {
				continue
			}
			peer := gluster.Peer{
				UUID: fmt.Sprintf("00000000-0000-4000-8000-%012x", i+1), Hostname: p.cfg.Address, Names: []string{p.cfg.Address},
				Local: p == n, Connected: p == n || p.state.glusterd(), State: gluster.InCluster,
			}
			if peer.Local {
				peer.Hostname = "localhost"
			}
			if p.rejected {
				peer.State = "Peer Rejected"
			}
			all = append(all, peer)
		}
		return all, nil
	})
}

// ProbePeer implements gluster.Cluster.
func (n *Node) ProbePeer(ctx context.Context, host string) error {
	command := "peer probe " + host
	_, err := query(ctx, n, ProbePeer, "", command, n.check.Peer(host), func() (struct{}, error) {
		p := n.c.byAddress(host)
		if p == nil || !p.state.glusterd() {
			return struct{}{}, refuse(gluster.PeerDown, command, "Probe returned with Transport endpoint is not connected")
		}
		if p.trusted == n.trusted {
			return struct{}{}, nil
		}
		volumes := slices.ContainsFunc(slices.Collect(maps.Values(n.c.volumes)), p.has)
		if volumes || len(p.peers()) > 1 {
			return struct{}{}, refuse(gluster.PeerRefused, command, "%s is either already part of another cluster or having volumes configured", host)
		}
		p.trusted = n.trusted
		return struct{}{}, nil
	})
	return err
}
