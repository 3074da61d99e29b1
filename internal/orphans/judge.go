package orphans

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// enough reports whether so many nodes answered that no volume can have escaped
// them: Gluster itself changes nothing without the greater part of its servers.
func (s *sight) enough() bool { return 2*len(s.silent) < len(s.pool.Nodes) }

// heardAll reports whether every node of a layout answered. One that was taken
// out of the pool is gone for good and need not.
func (s *sight) heardAll(layout []brick.Place) bool {
	return !slices.ContainsFunc(layout, func(at brick.Place) bool { return s.silent[at.Node] })
}

// judgeDirectories finds brick directories that no Gluster volume uses.
func (s *sight) judgeDirectories(r *Report) {
	for _, d := range s.directories {
		if s.used[d.gluster()] || s.elsewhere[d.Path] || !s.enough() || s.silent[d.node.Name] || !s.heardAll(d.Mark.Layout) {
			continue
		}
		r.Orphans = append(r.Orphans, Entry{
			Kind: BrickDirectory, Pool: s.pool.Name, Node: d.node.Name, Root: d.Ref.Root, Name: d.Ref.Volume,
			Handle: d.handle, Size: d.Quota.Bytes, Used: &d.Used, removal: d.Mark.Removal(),
			identity: fmt.Sprintf("%+v %+v %d %d %d", d.Mark, d.Quota, d.ProjectID, d.Used, d.UsedInodes),
		})
	}
}

// judgeVolumes goes through Gluster's volumes of this pool.
func (s *sight) judgeVolumes(ctx context.Context, r *Report) {
	for _, name := range slices.Sorted(maps.Keys(s.volumes)) {
		info := s.volumes[name]
		h, ok := s.owner(info)
		if !ok || h.Pool != s.pool.Name || h.Name != name {
			continue
		}
		if h.Backend == volume.Heketi {
			s.judgeHeketiVolume(ctx, h, info, r)
			continue
		}
		s.judgePlainVolume(h, info, r)
	}
}

// owner returns the handle that a volume was made for: that of its marks, or,
// where its creation ended before it was marked, that of all its bricks.
func (s *sight) owner(info gluster.Volume) (h volume.Handle, ok bool) {
	if text, marked := info.Options[mark.Handle]; marked {
		h, err := volume.ParseHandle(text)
		return h, err == nil
	}
	for i, b := range info.Bricks {
		d, ours := s.byBrick[b.String()]
		if !ours || i > 0 && d.handle != h {
			return volume.Handle{}, false
		}
		h = d.handle
	}
	return h, len(info.Bricks) > 0
}

func (s *sight) judgePlainVolume(h volume.Handle, info gluster.Volume, r *Report) {
	m, marked, err := mark.Read(info)
	if err != nil {
		r.Unknown = append(r.Unknown, err)
		return
	}
	e := Entry{
		Pool: h.Pool, Name: h.Name, Handle: h, Size: m.Size, Created: m.Created, Used: s.usedBy(info),
		identity: info.ID + " " + string(info.Status),
	}
	switch {
	case m.Released:
		e.Kind = Retained
		r.Retained = append(r.Retained, e)
	case info.Status == gluster.StatusCreated && s.enough() && s.heardHosts(info):
		if !marked {
			e.Size = s.byBrick[info.Bricks[0].String()].Mark.Size
		}
		e.Kind = Unfinished
		r.Orphans = append(r.Orphans, e)
	}
}

// heardHosts reports the same of the nodes of a volume's bricks.
func (s *sight) heardHosts(info gluster.Volume) bool {
	return !slices.ContainsFunc(info.Bricks, func(b gluster.Brick) bool { return s.silent[s.addresses[b.Host]] })
}

// usedBy returns what lies in all of a volume's brick directories, or nil where
// one of them was not seen.
func (s *sight) usedBy(info gluster.Volume) *volume.Size {
	var sum volume.Size
	for _, b := range info.Bricks {
		d, seen := s.byBrick[b.String()]
		if !seen {
			return nil
		}
		sum += d.Used
	}
	return &sum
}

// judgeHeketiVolume asks heketi about a volume that it made for us and does not
// list: it may be at work on it, have left it half done, or not know it.
func (s *sight) judgeHeketiVolume(ctx context.Context, h volume.Handle, info gluster.Volume, r *Report) {
	if _, whole := s.heketi[h]; whole || s.heketi == nil {
		return
	}
	e := Entry{Pool: h.Pool, Name: h.Name, Handle: h, identity: info.ID + " " + string(info.Status)}
	v, err := s.pool.Heketi.Get(ctx, h)
	switch {
	case volume.Is(err, volume.Precondition):
		e.Kind = GlusterOnly
	case volume.Is(err, volume.NotFound), err == nil && v.State == volume.Ready:
		return // it went, or came, while we looked
	case err != nil:
		r.Unknown = append(r.Unknown, err)
		return
	default:
		e.Kind, e.Size, e.Created = Unfinished, v.Size, v.Created
	}
	r.Orphans = append(r.Orphans, e)
}

// judgeHeketi finds volumes of ours in heketi that Gluster has not. Those on
// hosts that are no peers of the pool's nodes lie in another Gluster cluster,
// of which its agents know nothing.
func (s *sight) judgeHeketi(r *Report) {
	handles := slices.SortedFunc(maps.Keys(s.heketi), func(x, y volume.Handle) int { return strings.Compare(x.Name, y.Name) })
	for _, h := range handles {
		v := s.heketi[h]
		if _, there := s.volumes[h.Name]; there || !s.enough() {
			continue
		}
		told, err := s.tellOf(v)
		if err != nil {
			r.Unknown = append(r.Unknown, err)
		}
		if told {
			r.Orphans = append(r.Orphans, Entry{
				Kind: HeketiOnly, Pool: h.Pool, Name: h.Name, Handle: h, Size: v.Size, Created: v.Created,
				identity: fmt.Sprint(v.Created.Format(time.RFC3339), v.Bricks),
			})
		}
	}
}

// judgeClaims finds whole volumes that nobody in the orchestrator stands for.
func (s *sight) judgeClaims(ctx context.Context, r *Report) {
	if s.pool.Claimed == nil {
		return
	}
	claimed, err := s.pool.Claimed(ctx)
	if err != nil {
		r.Unknown = append(r.Unknown, err)
		return
	}
	add := func(e Entry) {
		e.Kind, e.Pool, e.Name = Unclaimed, e.Handle.Pool, e.Handle.Name
		judged := func(o Entry) bool { return o.Handle == e.Handle }
		if !claimed[e.Handle] && !slices.ContainsFunc(r.Orphans, judged) {
			r.Unclaimed = append(r.Unclaimed, e)
		}
	}
	for _, info := range s.volumes {
		m, marked, err := mark.Read(info) // what cannot be read was reported already
		whole := err == nil && marked && !m.Released && info.Status != gluster.StatusCreated
		if h := m.Handle; whole && h.Backend == volume.Plain && h.Pool == s.pool.Name && h.Name == info.Name {
			add(Entry{Handle: h, Size: m.Size, Created: m.Created, Used: s.usedBy(info)})
		}
	}
	for h, v := range s.heketi {
		add(Entry{Handle: h, Size: v.Size, Created: v.Created})
	}
}

// tellOf reports whether the nodes that answered can tell that Gluster has no
// such volume; an error says why they never could.
func (s *sight) tellOf(v volume.Volume) (bool, error) {
	fail := func(why error) (bool, error) {
		return false, &volume.Error{Kind: volume.Precondition, Op: "compare heketi with Gluster", On: "volume " + v.Handle.String(), Err: why}
	}
	if len(v.Bricks) == 0 {
		return fail(errors.New("heketi's database does not say where its bricks are"))
	}
	for _, text := range v.Bricks {
		b, ok := gluster.ParseBrick(text)
		if !ok || !s.peers[strings.ToLower(b.Host)] {
			return fail(fmt.Errorf("its brick %s is on no peer of the pool's nodes: they cannot tell whether its Gluster has it", text))
		}
		if s.silent[s.addresses[b.Host]] {
			return false, nil // the node's silence is reported already
		}
	}
	return true, nil
}
