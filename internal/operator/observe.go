package operator

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"bricklayer.csi/agent"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/volume"
)

const (
	// nodeTime is what a storage node has to answer. Two periods of it are less
	// than the half minute in which a fault is to show.
	nodeTime = 5 * time.Second
	// heketiTime likewise.
	heketiTime = 8 * time.Second
	// atOnce is how many nodes of a pool are asked at once.
	atOnce = 64
)

// Agent is what is asked of a storage node.
type Agent interface {
	Describe(ctx context.Context) (agent.Description, error)
	Bricks(ctx context.Context, volume string) ([]brick.Brick, error)
	Peers(ctx context.Context) ([]gluster.Peer, error)
	Volumes(ctx context.Context) ([]gluster.Volume, error)
	ProbePeer(ctx context.Context, host string) error
	InitRoot(ctx context.Context, root string) error
	SetPolicy(ctx context.Context, p brick.Policy) error
}

// Heketi is what is asked of a heketi.
type Heketi interface {
	Inspect(ctx context.Context) (heketi.Report, error)
	List(ctx context.Context, pool string) ([]volume.Volume, error)
}

// Members is what serves a pool.
type Members struct {
	// Agents are those of the storage nodes, by the nodes' names.
	Agents map[string]Agent
	// Err is why there are none though the pool has nodes.
	Err error
	// Heketi is nil where the pool names none, or for the reason in HeketiErr.
	Heketi    Heketi
	HeketiErr error
	// Guards tell what this process admits to the pool's backends.
	Guards map[volume.BackendName]guard.State
	// CertificateExpires is when the certificate ends by which the agents are asked; zero where unknown.
	CertificateExpires time.Time
}

// seenNode is what one storage node answered.
type seenNode struct {
	agent.Description
	// err is why it did not.
	err    error
	bricks []brick.Brick
	// bricksErr is why its bricks are not known, all of them.
	bricksErr error
	// offset is how far its clock is ahead of ours, give or take doubt.
	offset, doubt time.Duration
}

// observation is what was seen of a pool at one moment.
type observation struct {
	// err is why no agent could be asked.
	err   error
	nodes map[string]seenNode
	// peers are those that toldPeers told: the first node with a glusterd, or, where
	// that does not know all nodes of the pool, the one with the most peers.
	peers     []gluster.Peer
	toldPeers string
	peersErr  error
	// told is what each node told of its own peers; nil where the first knew all.
	told map[string][]gluster.Peer
	// deeds is what was done on storage nodes, or refused, after a look.
	deeds []deed
	// heketi is nil where the pool names none, or for the reason in heketiErr.
	heketi        *heketi.Report
	heketiVolumes []string
	heketiErr     error
	guards        map[volume.BackendName]guard.State
}

// observe asks everything that serves a pool, all at once.
func observe(ctx context.Context, p *v1alpha1.StoragePool, m Members) observation {
	o := observation{err: m.Err, heketiErr: m.HeketiErr, guards: m.Guards, nodes: map[string]seenNode{}}
	var wg sync.WaitGroup
	if m.Heketi != nil {
		wg.Go(func() { o.askHeketi(ctx, p.Name, m.Heketi) })
	}
	if m.Err == nil {
		o.nodes = askEach(slices.Collect(maps.Keys(m.Agents)), func(name string) seenNode { return askNode(ctx, m.Agents[name]) })
		o.askPeers(ctx, p, m.Agents)
	}
	wg.Wait()
	return o
}

// askEach asks the nodes of those names, some at once, and returns what each said.
func askEach[A any](names []string, ask func(name string) A) map[string]A {
	var mu sync.Mutex
	var all errgroup.Group
	all.SetLimit(atOnce)
	said := make(map[string]A, len(names))
	for _, name := range names {
		all.Go(func() error {
			a := ask(name)
			mu.Lock()
			defer mu.Unlock()
			said[name] = a
			return nil
		})
	}
	_ = all.Wait() // each says in its own answer what failed
	return said
}

func askNode(ctx context.Context, a Agent) (seen seenNode) {
	ctx, cancel := context.WithTimeout(ctx, nodeTime)
	defer cancel()
	asked := time.Now()
	if seen.Description, seen.err = a.Describe(ctx); seen.err != nil {
		return seen
	}
	took := time.Since(asked)
	seen.offset, seen.doubt = seen.Clock.Sub(asked.Add(took/2)), took/2
	seen.bricks, seen.bricksErr = a.Bricks(ctx, "")
	return seen
}

// askPeers asks one node: a trusted pool agrees about its peers, and a node that
// it rejects shows so at the others. Where a node of ours is no peer there may be
// several trusted pools: then all are asked, and the largest counts, of several the
// one whose node comes first.
func (o *observation) askPeers(ctx context.Context, p *v1alpha1.StoragePool, agents map[string]Agent) {
	first, cancel := context.WithTimeout(ctx, nodeTime)
	defer cancel()
	o.peersErr = errors.New("no glusterd answers")
	ready := slices.DeleteFunc(slices.Sorted(maps.Keys(o.nodes)), func(name string) bool {
		return o.nodes[name].err != nil || !o.nodes[name].GlusterdReady
	})
	for _, name := range ready {
		if o.peers, o.peersErr = agents[name].Peers(first); o.peersErr == nil {
			o.toldPeers = name
			break
		}
	}
	if o.peersErr != nil || !slices.ContainsFunc(p.Spec.Nodes, func(n v1alpha1.StorageNode) bool { return o.peerOf(n) < 0 }) {
		return
	}
	o.askAllPeers(ctx, ready, agents)
	for _, name := range ready {
		if peers := o.told[name]; len(peers) > len(o.peers) {
			o.peers, o.toldPeers = peers, name
		}
	}
}

// askAllPeers asks the nodes that have not told their peers yet. Who does not tell is
// not among those that told.
func (o *observation) askAllPeers(ctx context.Context, ready []string, agents map[string]Agent) {
	ctx, cancel := context.WithTimeout(ctx, nodeTime)
	defer cancel()
	others := slices.DeleteFunc(slices.Clone(ready), func(name string) bool { return name == o.toldPeers })
	o.told = askEach(others, func(name string) []gluster.Peer {
		peers, err := agents[name].Peers(ctx)
		if err != nil {
			return nil
		}
		return peers
	})
	maps.DeleteFunc(o.told, func(_ string, peers []gluster.Peer) bool { return peers == nil })
	o.told[o.toldPeers] = o.peers
}

// peerOf returns which of the peers a node of the pool is, or -1.
func (o *observation) peerOf(n v1alpha1.StorageNode) int {
	return slices.IndexFunc(o.peers, func(p gluster.Peer) bool {
		// A glusterd calls itself localhost, and does not say more.
		return p.Hostname == n.Address || slices.Contains(p.Names, n.Address) || p.Local && n.Name == o.toldPeers
	})
}

func (o *observation) askHeketi(ctx context.Context, pool string, h Heketi) {
	ctx, cancel := context.WithTimeout(ctx, heketiTime)
	defer cancel()
	report, err := h.Inspect(ctx)
	if err != nil {
		o.heketiErr = err
		return
	}
	volumes, err := h.List(ctx, pool)
	if err != nil {
		o.heketiErr = err
		return
	}
	o.heketi = &report
	for _, v := range volumes {
		o.heketiVolumes = append(o.heketiVolumes, v.Handle.Name)
	}
}
