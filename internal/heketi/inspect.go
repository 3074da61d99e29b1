package heketi

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// Finding is one thing that an administrator should know of a heketi.
type Finding struct {
	// Bad is true where volumes cannot be made, or are in danger.
	Bad bool
	// Detail says what was found, Next what to do about it.
	Detail, Next string
}

// Report is what there is to say of a pool's heketi.
type Report struct {
	// Clusters, Nodes and Devices count what belongs to the pool; Volumes those
	// that this pool made.
	Clusters, Nodes, Devices, Volumes int
	// Total and Free are the space of the devices that are online, in bytes.
	Total, Free volume.Size
	// Running is how many operations heketi works on.
	Running  int
	Findings []Finding
}

func (r *Report) bad(next, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Bad: true, Detail: fmt.Sprintf(format, args...), Next: next})
}

func (r *Report) warn(next, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Detail: fmt.Sprintf(format, args...), Next: next})
}

// Inspect looks the pool's heketi over: its clusters, nodes and devices, what
// operations it has left, and, where the pool has agents, whether its database
// and Gluster agree. An error means that heketi could not be asked: it does not
// answer, or refuses the pool's credentials.
func (b *Backend) Inspect(ctx context.Context) (Report, error) {
	l, err := b.poolLogin(ctx)
	if err != nil {
		return Report{}, err
	}
	v, err := b.look(ctx, l, 0)
	if err != nil {
		return Report{}, err
	}
	r := Report{Running: v.running()}
	b.inspectClusters(v, &r)
	inspectOperations(v, &r)
	b.compare(ctx, v, &r)
	return r, nil
}

// poolClusters returns the IDs of the pool's clusters.
func (b *Backend) poolClusters(v *view) []string {
	if len(b.ClusterIDs) > 0 {
		return b.ClusterIDs
	}
	return slices.Sorted(maps.Keys(v.Clusters))
}

func (b *Backend) inspectClusters(v *view, r *Report) {
	ids := b.poolClusters(v)
	if len(ids) == 0 {
		r.bad("load a topology into heketi: heketi-cli topology load", "heketi has no cluster")
	}
	for _, id := range ids {
		c, known := v.Clusters[id]
		switch {
		case !known:
			r.bad("correct clusterIDs of the pool; heketi-cli cluster list", "heketi has no cluster %s", id)
			continue
		case !c.Info.File:
			r.bad("heketi-cli cluster setflags --file=true "+id, "cluster %s takes no file volumes", id)
		}
		r.Clusters++
		v.inspectNodes(id, r)
	}
}

// inspectNodes counts a cluster's nodes and devices and reports those out of use.
func (v *view) inspectNodes(cluster string, r *Report) {
	usable := 0
	for _, id := range slices.Sorted(maps.Keys(v.Nodes)) {
		n := v.Nodes[id]
		if n.Info.ClusterId != cluster {
			continue
		}
		r.Nodes++
		online := n.State == api.EntryStateOnline
		if !online {
			r.warn("heketi-cli node enable "+id, "node %s is %s: it takes no bricks", v.host(id), n.State)
		}
		for _, device := range slices.Sorted(maps.Keys(v.Devices)) {
			d := v.Devices[device]
			if d.NodeID != id {
				continue
			}
			r.Devices++
			if d.State != api.EntryStateOnline {
				r.warn("heketi-cli device enable "+device, "device %s of node %s is %s: it takes no bricks", d.Info.Name, v.host(id), d.State)
			} else if online {
				usable++
				r.Total += kib(d.Info.Storage.Total)
				r.Free += kib(d.Info.Storage.Free)
			}
		}
	}
	if usable == 0 {
		r.bad("add devices, or enable those that there are", "cluster %s has no device that takes bricks", cluster)
		return
	}
	v.inspectRoom(cluster, r)
}

// inspectRoom reports a cluster that has no room for the smallest volume.
func (v *view) inspectRoom(cluster string, r *Report) {
	fits := func(t volume.Type) bool { return v.largest(cluster, volume.Parameters{Type: t}, freeNow) > 0 }
	switch {
	case !fits(volume.Type{Durability: volume.None}):
		r.bad(addRoom, "cluster %s has no room for a single brick of %s", cluster, minBrick)
	case !fits(volume.Type{Durability: volume.Replicate, Replicas: 3}):
		r.warn("add devices to more nodes, or use classes with another volumetype",
			"cluster %s has no room for a volume of %s in three copies (replicate:3, the default): fewer than three of its nodes are online with that much free", cluster, minBrick)
	}
}

// kib returns so many KiB in bytes, at most MaxSize.
func kib(n uint64) volume.Size {
	return volume.Size(min(n, uint64(volume.MaxSize/volume.KiB))) * volume.KiB
}

// inspectOperations reports what heketi began and did not end.
func inspectOperations(v *view, r *Report) {
	for _, id := range slices.Sorted(maps.Keys(v.Operations)) {
		o := v.Operations[id]
		since := time.Unix(o.Timestamp, 0).UTC().Format(time.RFC3339)
		switch {
		case !o.running():
			r.warn("heketi-cli server operations cleanup "+id, "%s %s, begun %s, was left half done: %s", o.Type, id, since, statusWord(o))
		case time.Since(time.Unix(o.Timestamp, 0)) > longAgo:
			r.warn("if heketi-cli server operations list does not show it in flight, restart heketi", "%s %s runs since %s", o.Type, id, since)
		}
	}
}

// compare looks for volumes of this pool that only one of heketi and Gluster has.
func (b *Backend) compare(ctx context.Context, v *view, r *Report) {
	ours, _ := b.marked(v)
	r.Volumes = len(ours)
	if b.Gluster == nil {
		return
	}
	all, err := b.Gluster.Volumes(ctx)
	if err != nil {
		r.warn("bring an agent of the pool back", "whether heketi's database and Gluster agree cannot be told: %v", err)
		return
	}
	together := b.checkTogether(ctx, v, all, r)
	if len(together) == 0 {
		return
	}
	// What was made or deleted between the two answers looks like a difference;
	// of that, a second look at heketi shows the other side.
	l, err := b.poolLogin(ctx)
	if err == nil {
		v, err = b.look(ctx, l, 0)
	}
	if err != nil {
		r.warn(seeLog, "whether heketi's database and Gluster agree cannot be told: %v", err)
		return
	}
	now, half := b.marked(v)
	for _, info := range all {
		h, err := volume.ParseHandle(info.Options[mark.Handle])
		mine := err == nil && h.Pool == b.Pool && h.Backend == volume.Heketi && h.Name == info.Name
		if _, known := now[info.Name]; mine && !known && !half[info.Name] {
			r.bad("restore heketi's database from a newer copy; until then its data are safe and it cannot be changed",
				"volume %s is in Gluster, and heketi does not know it: heketi's database was put back to an older one", info.Name)
		}
		delete(ours, info.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		e, still := now[name]
		if !still || !together[e.Info.Cluster] {
			continue
		}
		h := volume.Handle{Backend: volume.Heketi, Pool: b.Pool, Name: name}
		hosts := brickHosts(v.describe(h, found{id: e.Info.Id, entry: e}).Bricks)
		if strangers, err := b.strangers(ctx, hosts, all); err != nil || len(strangers) > 0 {
			continue // the nodes that could tell are reported already
		}
		r.bad("bricklayer orphans shows it; if nobody needs it: bricklayer volume delete "+h.String()+", which removes it from heketi and its bricks from the nodes",
			"volume %s is in heketi, and Gluster has none of this name", name)
	}
}

// marked returns the pool's own volumes in heketi that are whole, and the names
// of those that are half made or half deleted.
func (b *Backend) marked(v *view) (whole map[string]volumeEntry, half map[string]bool) {
	whole, half = map[string]volumeEntry{}, map[string]bool{}
	for id, e := range v.Volumes {
		m, ok := readMarks(e.GlusterVolumeOptions)
		if !ok || m.handle.Pool != b.Pool || m.handle.Backend != volume.Heketi || m.handle.Name != e.Info.Name {
			continue
		}
		if e.Pending.ID != "" {
			half[e.Info.Name] = true
			continue
		}
		e.Info.Id = id
		whole[e.Info.Name] = e
	}
	return whole, half
}
