// Package plain is the backend for lvm "false": a Gluster volume a claim, whose
// bricks are plain directories on file systems that the storage nodes already
// have, each held to its size by an XFS project quota.
//
// It owns placement, the order of the steps, and the marks by which a volume is
// known to be ours. It keeps no state of its own: what is there is read from
// Gluster and from the brick roots at each call. It refuses to know how a
// storage node carries out its verbs, and which front end calls.
package plain

import (
	"cmp"
	"context"
	"log/slog"
	"slices"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/volume"
)

// Node is a storage node of the pool.
type Node struct {
	// Name is the node's name in the pool.
	Name string
	// Address is how Gluster's peers and clients know it; bricks are ADDRESS:PATH.
	Address string
	// Zone is its failure domain; nodes without one are a zone each.
	Zone string
	// Roots are the names of the brick roots that the pool may use.
	Roots []string
	// Agent carries out verbs on the node.
	Agent agent.Node
}

// anywhere is the zone of those who use a volume from nowhere in particular.
const anywhere = ""

// isIn reports whether the node lies in that zone.
func (n *Node) isIn(zone string) bool { return zone != anywhere && n.Zone == zone }

// Config is what the backend must know of a pool. It does not change: a pool
// that changes gets another Backend.
type Config struct {
	// Pool is the pool's name.
	Pool  string
	Nodes []Node
	// ClientNetworks may mount the volumes; empty leaves them open.
	ClientNetworks []string
	// BrickMultiplex is what Gluster's cluster.brick-multiplex shall be; nil leaves it alone.
	BrickMultiplex *bool
	// Guard says how many operations may change the cluster at once, and what a
	// node must have to take a brick.
	Guard guard.Settings
}

// Backend implements volume.Backend. Make it with New.
type Backend struct {
	Config

	nodes map[string]*Node // by name
	guard *guard.Guard
	gids  *gidReservations
	log   *slog.Logger
}

var _ volume.Backend = (*Backend)(nil)

// New returns the backend of one pool. The configuration has been validated.
func New(c Config, log *slog.Logger) *Backend {
	b := &Backend{
		Config: c,
		nodes:  map[string]*Node{},
		guard:  guard.New(c.Guard),
		gids:   newGIDReservations(),
		log:    log.With("pool", c.Pool),
	}
	for i := range b.Nodes {
		b.nodes[b.Nodes[i].Name] = &b.Nodes[i]
	}
	return b
}

// Admission returns what admits operations to the pool's storage nodes.
func (b *Backend) Admission() *guard.Guard { return b.guard }

// Configure puts the settings of the whole Gluster cluster as the pool has
// them. It may be repeated; it changes nothing that no pool asks for.
func (b *Backend) Configure(ctx context.Context) error {
	if b.BrickMultiplex == nil {
		return nil
	}
	value := "off"
	if *b.BrickMultiplex {
		value = "on"
	}
	option := gluster.Option{Key: "cluster.brick-multiplex", Value: value}
	return b.onAny(b.ranked(""), func(n *Node) error {
		return n.Agent.SetOptions(ctx, gluster.AllVolumes, []gluster.Option{option})
	})
}

// ranked returns the nodes in an order that depends on the volume's name only,
// so that the work of many volumes spreads over the nodes.
func (b *Backend) ranked(name string) []*Node {
	ranked := make([]*Node, 0, len(b.Nodes))
	for i := range b.Nodes {
		ranked = append(ranked, &b.Nodes[i])
	}
	slices.SortFunc(ranked, func(x, y *Node) int {
		return cmp.Or(cmp.Compare(volume.Rank(name, x.Name), volume.Rank(name, y.Name)), cmp.Compare(x.Name, y.Name))
	})
	return ranked
}

// servers returns the hosts that give clients the volume's file: those of the
// bricks, then others, and among either those in a zone first, at most
// maxServers, so that a dead one stops no mount.
func (b *Backend) servers(name string, hosts []string, near string) []string {
	const maxServers = 4
	var out []string
	add := func(address string) {
		if len(out) < maxServers && !slices.Contains(out, address) {
			out = append(out, address)
		}
	}
	ranked := b.ranked(name)
	slices.SortStableFunc(ranked, func(x, y *Node) int {
		switch xNear, yNear := x.isIn(near), y.isIn(near); {
		case xNear == yNear:
			return 0
		case xNear:
			return -1
		}
		return 1
	})
	for _, n := range ranked {
		if slices.Contains(hosts, n.Address) {
			add(n.Address)
		}
	}
	for _, n := range ranked {
		add(n.Address)
	}
	return out
}
