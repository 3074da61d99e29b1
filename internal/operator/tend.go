package operator

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
)

// peersTime is what the probes of one look may take together, rootsTime what the
// initialisation of roots may; policyTime is what one node may take to note a policy.
const peersTime, rootsTime, policyTime = 30 * time.Second, 30 * time.Second, nodeTime

// Reasons of events about what was done on storage nodes; those of refusals are
// also the reasons of Degraded.
const (
	peerProbed      = "PeerProbed"
	peerRefused     = "PeerRefused"
	rootInitialised = "RootInitialised"
	rootRefused     = "RootRefused"
	policySet       = "PolicySet"
	policyRefused   = "PolicyRefused"
)

// deed is one thing that the pool's spec asks for and that was done on a storage
// node just now, or refused.
type deed struct {
	// root is empty where it is about the node.
	node, root string
	// reason is its event's.
	reason  string
	refused bool
	// text says what was done; of a refusal, what was found and what to do.
	text string
}

// tend does what the pool's spec asks for and what the observation shows not to be
// done yet. It goes by what it sees alone, so that it may be killed at any moment
// and goes on at the next look.
func tend(ctx context.Context, p *v1alpha1.StoragePool, m Members, seen observation) []deed {
	if p.DeletionTimestamp != nil {
		return nil
	}
	var deeds []deed
	if p.Spec.ManagePeers {
		deeds = append(deeds, tendPeers(ctx, p, m, seen)...)
	}
	if p.Spec.InitRoots {
		deeds = append(deeds, tendRoots(ctx, p, m, seen)...)
	}
	return append(deeds, tendPolicy(ctx, p, m, seen)...)
}

// tendPolicy tells the pool's policy for roots to the agents that were told another
// one, or none since they began.
func tendPolicy(ctx context.Context, p *v1alpha1.StoragePool, m Members, seen observation) (deeds []deed) {
	want := brick.Policy{OvercommitPercent: p.Spec.OvercommitPercent, TrashEntriesPerSecond: p.Spec.TrashEntriesPerSecond}
	var names []string
	for _, n := range p.Spec.Nodes {
		if s, asked := seen.nodes[n.Name]; asked && s.err == nil && s.Policy != want {
			names = append(names, n.Name)
		}
	}
	said := askEach(names, func(name string) error {
		ctx, cancel := context.WithTimeout(ctx, policyTime)
		defer cancel()
		return m.Agents[name].SetPolicy(ctx, want)
	})
	for _, name := range names {
		d := deed{node: name, reason: policySet, text: fmt.Sprintf("node %s goes by the pool's overcommitPercent and trashEntriesPerSecond now", name)}
		if err := said[name]; err != nil {
			d.reason, d.refused, d.text = policyRefused, true, short("telling it the pool's overcommitPercent and trashEntriesPerSecond failed: "+err.Error())
		}
		deeds = append(deeds, d)
	}
	return deeds
}

// tendRoots has agents make brick roots of those that have no marker. The agent
// looks at what is there, and refuses all but an empty file system.
func tendRoots(ctx context.Context, p *v1alpha1.StoragePool, m Members, seen observation) (deeds []deed) {
	ctx, cancel := context.WithTimeout(ctx, rootsTime)
	defer cancel()
	for _, n := range p.Spec.Nodes {
		for _, r := range n.Roots {
			if !stateOf(seen.nodes[n.Name], r.Name).Blank {
				continue
			}
			d := deed{node: n.Name, root: r.Name, reason: rootInitialised, text: fmt.Sprintf("root %s/%s was an empty file system and is a brick root now", n.Name, r.Name)}
			if err := m.Agents[n.Name].InitRoot(ctx, r.Name); err != nil {
				d.reason, d.refused, d.text = rootRefused, true, short("making it a brick root failed: "+err.Error())
			}
			deeds = append(deeds, d)
		}
	}
	return deeds
}

// tendPeers has the node that told the peers probe one that is none of them.
func tendPeers(ctx context.Context, p *v1alpha1.StoragePool, m Members, seen observation) (deeds []deed) {
	if seen.undecided(p) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, peersTime)
	defer cancel()
	for _, n := range p.Spec.Nodes {
		theirs, told := seen.told[n.Name]
		if !told || seen.peerOf(n) >= 0 {
			continue
		}
		why := seen.unfit(ctx, theirs, m.Agents[n.Name])
		if why == "" {
			err := m.Agents[seen.toldPeers].ProbePeer(ctx, n.Address)
			if err == nil {
				return append(deeds, deed{
					node: n.Name, reason: peerProbed,
					text: fmt.Sprintf("node %s (%s) was probed into the trusted pool by node %s", n.Name, n.Address, seen.toldPeers),
				})
			}
			why = "probing it into the trusted pool failed: " + err.Error()
		}
		deeds = append(deeds, deed{node: n.Name, reason: peerRefused, refused: true, text: short(why)})
	}
	return deeds
}

// undecided reports whether nobody can tell which trusted pool new nodes belong to:
// the node that told its peers has none, and others, which may have, did not tell.
func (o *observation) undecided(p *v1alpha1.StoragePool) bool {
	return len(o.peers) == 1 && len(o.told) < len(p.Spec.Nodes)
}

// unfit says why a node is not to be probed, given the peers that it has itself;
// nothing where it may be. One that is a peer already, known by other names, may: it
// gets this name besides.
func (o *observation) unfit(ctx context.Context, theirs []gluster.Peer, a Agent) string {
	const not = "it is not probed into the trusted pool: "
	var others []string
	for _, peer := range theirs {
		if peer.Local && slices.ContainsFunc(o.peers, func(p gluster.Peer) bool { return p.UUID == peer.UUID }) {
			return ""
		}
		if !peer.Local {
			others = append(others, peer.Hostname)
		}
	}
	if len(others) > 0 {
		slices.Sort(others)
		return fmt.Sprintf(not+"it is in another one, with %s: detach it there, or take it out of spec.nodes", some(others, maxListed))
	}
	volumes, err := a.Volumes(ctx)
	if err != nil {
		return not + err.Error()
	}
	if len(volumes) == 0 {
		return ""
	}
	names := make([]string, len(volumes))
	for i, v := range volumes {
		names[i] = v.Name
	}
	slices.Sort(names)
	return fmt.Sprintf(not+"it has volumes of its own, %s: delete them there, or take it out of spec.nodes", some(names, maxListed))
}

// announce sends an event about each deed, of refusals about those that the status
// does not tell of yet.
func (o *Operator) announce(ctx context.Context, found *v1alpha1.StoragePool, deeds []deed) {
	for _, d := range deeds {
		kind, text := corev1.EventTypeNormal, d.text
		if d.refused {
			if d.knownTo(found.Status) {
				continue
			}
			kind, text = corev1.EventTypeWarning, d.on()+": "+d.text
		}
		o.Events.Event(found, kind, d.reason, text)
		o.Log.InfoContext(ctx, "a StoragePool's nodes are tended", "pool", found.Name, "reason", d.reason, "message", text)
	}
}

// on says what the deed is about.
func (d deed) on() string {
	if d.root == "" {
		return "node " + d.node
	}
	return "root " + d.node + "/" + d.root
}

// knownTo reports whether a status tells of a refusal.
func (d deed) knownTo(s v1alpha1.StoragePoolStatus) bool {
	return slices.ContainsFunc(s.Nodes, func(n v1alpha1.NodeStatus) bool {
		if d.root == "" {
			return n.Name == d.node && slices.Contains(n.Problems, d.text)
		}
		return n.Name == d.node && slices.ContainsFunc(n.Roots, func(r v1alpha1.RootStatus) bool { return r.Name == d.root && r.Problem == d.text })
	})
}

// refusal returns why something was not done on a node, or on a root of it; nothing
// where nothing was refused.
func (o *observation) refusal(reason, node, root string) string {
	for _, d := range o.deeds {
		if d.refused && d.reason == reason && d.node == node && d.root == root {
			return d.text
		}
	}
	return ""
}
