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
	// peers are those that the first node with a glusterd told, and toldPeers is that node.
	peers     []gluster.Peer
	toldPeers string
	peersErr  error
	// heketi is nil where the pool names none, or for the reason in heketiErr.
	heketi        *heketi.Report
	heketiVolumes []string
	heketiErr     error
	guards        map[volume.BackendName]guard.State
}

// observe asks everything that serves a pool, all at once.
func observe(ctx context.Context, pool string, m Members) observation {
	o := observation{err: m.Err, heketiErr: m.HeketiErr, guards: m.Guards, nodes: map[string]seenNode{}}
	var wg sync.WaitGroup
	if m.Heketi != nil {
		wg.Go(func() { o.askHeketi(ctx, pool, m.Heketi) })
	}
	if m.Err == nil {
		o.askNodes(ctx, m.Agents)
		o.askPeers(ctx, m.Agents)
	}
	wg.Wait()
	return o
}

func (o *observation) askNodes(ctx context.Context, agents map[string]Agent) {
	var mu sync.Mutex
	var nodes errgroup.Group
	nodes.SetLimit(atOnce)
	for name, a := range agents {
		nodes.Go(func() error {
			seen := askNode(ctx, a)
			mu.Lock()
			defer mu.Unlock()
			o.nodes[name] = seen
			return nil
		})
	}
	_ = nodes.Wait() // each says in its own answer what failed
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
// it rejects shows so at the others.
func (o *observation) askPeers(ctx context.Context, agents map[string]Agent) {
	ctx, cancel := context.WithTimeout(ctx, nodeTime)
	defer cancel()
	o.peersErr = errors.New("no glusterd answers")
	for _, name := range slices.Sorted(maps.Keys(o.nodes)) {
		seen := o.nodes[name]
		if seen.err != nil || !seen.GlusterdReady {
			continue
		}
		if o.peers, o.peersErr = agents[name].Peers(ctx); o.peersErr == nil {
			o.toldPeers = name
			return
		}
	}
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
