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

func (b *Backend) inspectClusters(v *view, r *Report) {
	ids := b.ClusterIDs
	if len(ids) == 0 {
		ids = slices.Sorted(maps.Keys(v.Clusters))
	}
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
	ours := map[string]bool{} // by name; those that are half made are not compared
	half := map[string]bool{}
	for _, e := range v.Volumes {
		m, ok := readMarks(e.GlusterVolumeOptions)
		if !ok || m.handle.Pool != b.Pool || m.handle.Backend != volume.Heketi {
			continue
		}
		if e.Pending.ID != "" {
			half[e.Info.Name] = true
			continue
		}
		ours[e.Info.Name] = true
	}
	r.Volumes = len(ours)
	if b.Gluster == nil {
		return
	}
	all, err := b.Gluster.Volumes(ctx)
	if err != nil {
		r.warn("bring an agent of the pool back", "whether heketi's database and Gluster agree cannot be told: %v", err)
		return
	}
	for _, info := range all {
		h, err := volume.ParseHandle(info.Options[mark.Handle])
		mine := err == nil && h.Pool == b.Pool && h.Backend == volume.Heketi && h.Name == info.Name
		if mine && !ours[info.Name] && !half[info.Name] {
			r.bad("restore heketi's database from a newer copy", "volume %s is in Gluster, and heketi does not know it: heketi's database was put back to an older one", info.Name)
		}
		delete(ours, info.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		r.bad("delete it, which removes it from heketi too", "volume %s is in heketi, and Gluster has none of this name", name)
	}
}
