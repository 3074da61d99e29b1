package heketi

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// Where a pool's heketi and its agents serve two different Glusters, all that
// heketi has is missing in the agents' Gluster and all that is there is unknown
// to heketi. Whoever then cleaned up would delete sound volumes. So nothing is
// said about a difference between the two before they were seen to belong together.

// mendPair is what to do about a heketi and agents that do not belong together.
const mendPair = "correct spec.heketi (url, clusterIDs) or spec.nodes of the pool; delete nothing because of this"

// strangers returns those of some hosts that are no peers in the Gluster of the
// pool's agents. volumes are that Gluster's: the hosts of their bricks are its
// peers too, under the names that matter.
func (b *Backend) strangers(ctx context.Context, hosts []string, volumes []gluster.Volume) ([]string, error) {
	peers, err := b.Gluster.Peers(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, p := range peers {
		for _, name := range append(p.Names, p.Hostname) {
			known[strings.ToLower(name)] = true
		}
	}
	for _, v := range volumes {
		for _, k := range v.Bricks {
			known[strings.ToLower(k.Host)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return known[strings.ToLower(h)] }), nil
}

// brickHosts returns the hosts of bricks written as HOST:PATH, each once.
func brickHosts(bricks []string) []string {
	hosts := map[string]bool{}
	for _, text := range bricks {
		if k, ok := gluster.ParseBrick(text); ok {
			hosts[k.Host] = true
		}
	}
	return slices.Sorted(maps.Keys(hosts))
}

// apart returns an error where the bricks of a volume of heketi's lie on hosts of
// which the pool's agents know nothing: their word on it is worth nothing.
func (b *Backend) apart(ctx context.Context, op string, v volume.Volume) error {
	volumes, err := b.Gluster.Volumes(ctx)
	if err != nil {
		return &volume.Error{Kind: volume.Unavailable, Op: op, On: b.on(v.Handle), Err: err, Next: "bring an agent of the pool back"}
	}
	strangers, err := b.strangers(ctx, brickHosts(v.Bricks), volumes)
	if err != nil {
		return &volume.Error{Kind: volume.Unavailable, Op: op, On: b.on(v.Handle), Err: err, Next: "bring an agent of the pool back"}
	}
	if len(strangers) == 0 {
		return nil
	}
	return &volume.Error{
		Kind: volume.Precondition, Op: op, On: b.on(v.Handle),
		Err:  fmt.Errorf("its bricks are on %s, no peers of the pool's storage nodes: this heketi and these nodes do not belong together", strings.Join(strangers, ", ")),
		Next: mendPair,
	}
}

// checkTogether reports the clusters of heketi that are no part of the Gluster
// of the pool's agents, and returns those that are.
func (b *Backend) checkTogether(ctx context.Context, v *view, volumes []gluster.Volume, r *Report) map[string]bool {
	together := map[string]bool{}
	for _, id := range b.poolClusters(v) {
		var hosts []string
		for node, n := range v.Nodes {
			if n.Info.ClusterId == id {
				hosts = append(hosts, v.host(node))
			}
		}
		slices.Sort(hosts)
		strangers, err := b.strangers(ctx, hosts, volumes)
		switch {
		case err != nil:
			next := "bring the pool's agents back"
			if volume.KindOf(err).Definite() {
				next = "mend the pool's Gluster first"
			}
			r.warn(next, "whether heketi's database and Gluster agree cannot be told: %v", err)
			return map[string]bool{}
		case len(hosts) == 0:
		case len(strangers) == len(hosts):
			r.bad(mendPair, "heketi's cluster %s and the pool's storage nodes do not belong together: its nodes %s are no peers of theirs, so whether heketi's database and Gluster agree cannot be told, and a name that Gluster has is not seen before heketi is asked for it",
				id, strings.Join(hosts, ", "))
		case len(strangers) > 0:
			r.warn("gluster peer status on the pool's nodes, heketi-cli node list: put right which of them is wrong",
				"the nodes %s of heketi's cluster %s are no peers of the pool's storage nodes: volumes with bricks there are not compared", strings.Join(strangers, ", "), id)
			together[id] = true
		default:
			together[id] = true
		}
	}
	return together
}
