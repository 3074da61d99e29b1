package heketi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// found is what heketi's database has of one volume.
type found struct {
	// id is heketi's ID of the volume; empty where it has none.
	id    string
	entry volumeEntry
	marks marks
	// pending is true where an operation has begun on it.
	pending   bool
	operation operationEntry
	// foreign says why a volume of that name is not ours; empty where there is none.
	foreign string
}

// ready reports whether the volume was handed out and is not being deleted.
func (f found) ready() bool { return f.id != "" && !f.half() }

// half reports whether the volume is half made or half deleted. One that is
// being expanded or cloned is whole. An operation without a type is one that
// heketi has lost.
func (f found) half() bool {
	if !f.pending {
		return false
	}
	switch f.operation.Type {
	case createVolume, deleteVolume, 0:
		return true
	default:
		return false
	}
}

// size returns the volume's size in bytes; 0 where heketi's database has nonsense.
func (f found) size() volume.Size {
	n := volume.Size(f.entry.Info.Size)
	if n < 0 || n > volume.MaxSize/volume.GiB {
		return 0
	}
	return n * volume.GiB
}

// same reports whether nothing has happened to the volume between two looks.
func (f found) same(g found) bool {
	return f.id == g.id && f.entry.Info.Size == g.entry.Info.Size && f.pending == g.pending &&
		f.operation.ID == g.operation.ID && f.operation.Status == g.operation.Status && f.foreign == g.foreign
}

// find looks a volume up. Of several that carry its handle (two controllers
// that chose different clusters at the same moment) every caller gets the same.
func (v *view) find(h volume.Handle, clusters []string) found {
	var f found
	for _, id := range v.byName[h.Name] {
		e := v.Volumes[id]
		m, ours := readMarks(e.GlusterVolumeOptions)
		if !ours || m.handle != h {
			if len(clusters) == 0 || slices.Contains(clusters, e.Info.Cluster) {
				f.foreign = "heketi's volume " + id + " has this name and " + whose(m, ours)
			}
			continue
		}
		if f.id != "" && (f.entry.Pending.ID == "" || e.Pending.ID != "") {
			continue
		}
		e.Info.Id = id
		f.id, f.entry, f.marks = id, e, m
	}
	if f.id != "" {
		f.foreign = ""
		f.operation, f.pending = v.operationOn(f.entry)
	}
	return f
}

func whose(m marks, marked bool) string {
	if !marked {
		return "carries no mark of ours"
	}
	return "is marked as " + m.handle.String()
}

func (f found) refuseForeign(op, on string, kind volume.Kind) error {
	if f.foreign == "" {
		return nil
	}
	return &volume.Error{
		Kind: kind, Op: op, On: on,
		Err:  errors.New("it is not this one: " + f.foreign),
		Next: "rename or remove that volume by hand if it is not needed",
	}
}

// notFound is the answer for a volume that heketi does not have.
func notFound(op, on string) error {
	return &volume.Error{Kind: volume.NotFound, Op: op, On: on, Err: errors.New("there is no such volume")}
}

// describe returns the volume as the port has it.
func (v *view) describe(h volume.Handle, f found) volume.Volume {
	state := volume.Ready
	if !f.ready() {
		state = volume.Partial
	}
	out := volume.Volume{
		Handle: h, State: state, Size: f.size(), Fingerprint: f.marks.fingerprint, Class: f.marks.class, Created: f.marks.created,
		Type: typeOf(f.entry.Info.Durability), GID: int(f.entry.Info.Gid),
	}
	holds := map[string]bool{}
	for _, id := range f.entry.Bricks {
		k := v.Bricks[id].Info
		holds[k.NodeId] = true
		out.Bricks = append(out.Bricks, v.host(k.NodeId)+":"+k.Path)
	}
	slices.Sort(out.Bricks)
	out.Servers = v.servers(h.Name, f.entry.Info.Cluster, holds)
	return out
}

// host returns how Gluster's clients know a node.
func (v *view) host(node string) string {
	if s := v.Nodes[node].Info.Hostnames.Storage; len(s) > 0 {
		return s[0]
	}
	return "node-" + node
}

// servers returns the hosts that give clients the volume's file: those that
// are online and hold a brick first, in an order that depends on the volume's
// name, so that the work of many volumes spreads.
func (v *view) servers(name, cluster string, holds map[string]bool) []string {
	const maxServers = 4
	nodes := slices.DeleteFunc(slices.Clone([]string(v.Clusters[cluster].Info.Nodes)), func(n string) bool {
		return len(v.Nodes[n].Info.Hostnames.Storage) == 0
	})
	class := func(n string) int {
		switch online := v.Nodes[n].State == api.EntryStateOnline; {
		case online && holds[n]:
			return 0
		case online:
			return 1
		}
		return 2
	}
	slices.SortFunc(nodes, func(x, y string) int {
		return cmp.Or(cmp.Compare(class(x), class(y)), cmp.Compare(volume.Rank(name, x), volume.Rank(name, y)), strings.Compare(x, y))
	})
	out := make([]string, 0, maxServers)
	for _, n := range nodes[:min(maxServers, len(nodes))] {
		out = append(out, v.host(n))
	}
	return out
}

// Get implements volume.Backend. That there is no such volume is said only
// after a fresh look, and where Gluster has none either.
func (b *Backend) Get(ctx context.Context, h volume.Handle) (volume.Volume, error) {
	const op = "get volume"
	v, f, err := b.glanceAt(ctx, h)
	if err != nil {
		return volume.Volume{}, err
	}
	if f.id == "" {
		if err := b.refuseForgotten(ctx, op, h); err != nil {
			return volume.Volume{}, err
		}
		return volume.Volume{}, notFound(op, b.on(h))
	}
	return v.describe(h, f), nil
}

// glanceAt finds a volume for a question that changes nothing.
func (b *Backend) glanceAt(ctx context.Context, h volume.Handle) (*view, found, error) {
	v, err := b.glance(ctx)
	if err != nil {
		return nil, found{}, err
	}
	f := v.find(h, b.ClusterIDs)
	if f.id != "" {
		return v, f, nil
	}
	l, err := b.poolLogin(ctx)
	if err != nil {
		return nil, found{}, err
	}
	if v, err = b.look(ctx, l, 0); err != nil {
		return nil, found{}, err
	}
	return v, v.find(h, b.ClusterIDs), nil
}

// List implements volume.Backend.
func (b *Backend) List(ctx context.Context, pool string) ([]volume.Volume, error) {
	v, err := b.glance(ctx)
	if err != nil {
		return nil, err
	}
	handles := map[volume.Handle]bool{}
	for _, e := range v.Volumes {
		m, ok := readMarks(e.GlusterVolumeOptions)
		if ok && m.handle.Backend == volume.Heketi && m.handle.Pool == pool && m.handle.Name == e.Info.Name {
			handles[m.handle] = true
		}
	}
	var out []volume.Volume
	for h := range handles {
		if f := v.find(h, nil); f.ready() {
			out = append(out, v.describe(h, f))
		}
	}
	slices.SortFunc(out, func(x, y volume.Volume) int { return strings.Compare(x.Handle.Name, y.Handle.Name) })
	return out, nil
}

// inGluster returns the volume as Gluster itself has it; ok is false where it
// has none, or cannot be asked because the pool has no agents.
func (b *Backend) inGluster(ctx context.Context, name string) (info gluster.Volume, ok bool, err error) {
	if b.Gluster == nil {
		return gluster.Volume{}, false, nil
	}
	info, err = b.Gluster.Volume(ctx, name)
	if volume.Is(err, volume.NotFound) {
		return gluster.Volume{}, false, nil
	}
	return info, err == nil, err
}

// refuseForgotten returns an error where heketi does not know a volume of ours
// that Gluster has: heketi's database is older than the volume.
func (b *Backend) refuseForgotten(ctx context.Context, op string, h volume.Handle) error {
	info, ok, err := b.inGluster(ctx, h.Name)
	if err != nil {
		return &volume.Error{
			Kind: volume.Unavailable, Op: op, On: b.on(h),
			Err:  fmt.Errorf("heketi has no such volume, and Gluster does not tell: %w", err),
			Next: "bring an agent of the pool back",
		}
	}
	if !ok || info.Options[mark.Handle] != h.String() {
		return nil
	}
	if err := b.stillUnknown(ctx, h); err != nil {
		return err
	}
	return &volume.Error{
		Kind: volume.Precondition, Op: op, On: b.on(h),
		Err: errors.New("the volume is in Gluster, and heketi does not know it: heketi's database was put back to an older one"),
		Next: "restore heketi's database from a newer copy (heketi-cli db dump shows what it has), " +
			"or save the data and remove the volume with gluster and lvremove by hand",
	}
}

// stillUnknown returns nil where heketi still has no volume of the handle, and
// errMoved where another controller had it made while Gluster was asked.
func (b *Backend) stillUnknown(ctx context.Context, h volume.Handle) error {
	l, err := b.poolLogin(ctx)
	if err != nil {
		return err
	}
	v, err := b.look(ctx, l, 0)
	if err != nil {
		return err
	}
	if v.find(h, nil).id != "" {
		return errMoved
	}
	return nil
}
