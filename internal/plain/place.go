package plain

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/volume"
)

// candidate is a brick root that may take a brick.
type candidate struct {
	node *Node
	root string
	// zone is the node's failure domain.
	zone string
	// room is what may still be promised on the root, in bytes.
	room volume.Size
}

// serves reports whether volumes of those parameters may have bricks on the node.
func (n *Node) serves(p volume.Parameters) bool {
	return len(p.Zones) == 0 || slices.Contains(p.Zones, n.Zone)
}

// enoughNodes returns an error where the zones of the parameters hold too few
// nodes for a volume, whatever their state.
func (b *Backend) enoughNodes(h volume.Handle, p volume.Parameters) error {
	there := 0
	for i := range b.Nodes {
		if b.Nodes[i].serves(p) {
			there++
		}
	}
	if len(p.Zones) == 0 || there >= p.Type.Bricks() {
		return nil
	}
	return &volume.Error{
		Kind: volume.Precondition, Op: "place the bricks", On: "volume " + h.String(),
		Err: fmt.Errorf("%s needs %d storage nodes, and in the zones %s, to which the class keeps it, the pool has %d",
			p.Type, p.Type.Bricks(), strings.Join(p.Zones, ", "), there),
		Next: "name the zones in the class as the StoragePool does, or more of them, or add nodes there",
	}
}

// candidates are the roots that may take a brick of a volume, and why the others
// may not. Nodes in zones that the class does not name are neither.
type candidates struct {
	usable []candidate
	// refused are roots and nodes that are away or unfit, short nodes that take no
	// further brick for now.
	refused, short []string
}

func (b *Backend) candidates(s survey, p volume.Parameters, short guard.Shortages) (from candidates) {
	for i := range b.Nodes {
		n := &b.Nodes[i]
		d, ok := s.described[n.Name]
		switch {
		case !n.serves(p):
			continue
		case !ok:
			from.refused = append(from.refused, fmt.Sprintf("%s: its agent does not answer (%v)", n.Name, s.silent[n.Name]))
			continue
		case !d.GlusterdReady:
			from.refused = append(from.refused, n.Name+": glusterd does not answer")
			continue
		}
		if why := short(n.Name, d); why != "" {
			from.short = append(from.short, n.Name+": "+why)
			continue
		}
		for _, root := range n.Roots {
			at := slices.IndexFunc(d.Roots, func(r brick.RootState) bool { return r.Name == root })
			switch {
			case at < 0:
				from.refused = append(from.refused, n.Name+"/"+root+": the agent has no root of that name")
			case d.Roots[at].Problem != "":
				from.refused = append(from.refused, n.Name+"/"+root+": "+d.Roots[at].Problem)
			case p.Quota && !d.Roots[at].Quota:
				from.refused = append(from.refused, n.Name+"/"+root+`: its file system enforces no project quotas (mount it with prjquota, or say "quota: none" in the class)`)
			default:
				from.usable = append(from.usable, candidate{node: n, root: root, zone: cmp.Or(n.Zone, "node "+n.Name), room: d.Roots[at].Available})
			}
		}
	}
	return from
}

// errNoPlace is returned by place where the candidates cannot take the bricks.
var errNoPlace = errors.New("not enough room on enough storage nodes")

// place chooses a root for each brick of a volume: never two on one node, as
// many zones as there are, the zone near the user among equal ones, then the
// most room; the name breaks ties so that equal roots share the work. Positions
// with larger quotas choose first.
func place(name string, t volume.Type, size volume.Size, from []candidate, near string) ([]candidate, error) {
	order := make([]int, t.Bricks())
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(t.BrickQuota(y, size), t.BrickQuota(x, size)) })

	from = slices.Clone(from)
	slices.SortFunc(from, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(y.room, x.room),
			cmp.Compare(volume.Rank(name, x.node.Name, x.root), volume.Rank(name, y.node.Name, y.root)))
	})
	chosen := make([]candidate, len(order))
	nodes, zones := map[*Node]bool{}, map[string]int{}
	for _, position := range order {
		quota := t.BrickQuota(position, size)
		best := -1
		for i, c := range from {
			if nodes[c.node] || c.room < quota {
				continue
			}
			if best < 0 || zones[c.zone] < zones[from[best].zone] ||
				zones[c.zone] == zones[from[best].zone] && c.zone == near && from[best].zone != near {
				best = i
			}
		}
		if best < 0 {
			return nil, errNoPlace
		}
		chosen[position] = from[best]
		nodes[from[best].node] = true
		zones[from[best].zone]++
	}
	return chosen, nil
}

// refuseRoom returns the error for a volume that found no place: OutOfRange
// where the pool could not take it even empty, Unavailable where it waits for a
// node that is away, else Exhausted.
func (b *Backend) refuseRoom(h volume.Handle, t volume.Type, size volume.Size, described map[string]agent.Description, from candidates) error {
	e := &volume.Error{
		Kind: volume.Exhausted, Op: "place the bricks", On: "volume " + h.String(),
		Err: fmt.Errorf("%w: %s of %d bytes needs %d nodes with room for its bricks, the largest volume now is %d bytes; %s",
			errNoPlace, t, size, t.Bricks(), largest(t, from.usable), from.list()),
		Next: "delete volumes, add disks or nodes to the pool, or ask for less",
	}
	usable := distinctNodes(from.usable)
	switch {
	case usable < t.Bricks() && usable+len(from.short) >= t.Bricks():
		e.Next = guard.Cure
		return b.guard.Short(e)
	case usable < t.Bricks() && (len(from.refused) > 0 || len(described) < len(b.Nodes)):
		e.Kind = volume.Unavailable
		e.Next = "bring the nodes that are named back"
		return e
	case len(from.refused) > 0 || len(from.short) > 0 || len(described) < len(b.Nodes):
		return e // with a part of the pool out of sight nobody can say what it could take
	}
	empty := slices.Clone(from.usable)
	for i, c := range empty {
		d := described[c.node.Name]
		at := slices.IndexFunc(d.Roots, func(r brick.RootState) bool { return r.Name == c.root })
		empty[i].room = max(d.Roots[at].Total, d.Roots[at].Available+d.Roots[at].Committed)
	}
	if most := largest(t, empty); size > most {
		e.Kind = volume.OutOfRange
		e.Next = fmt.Sprintf("the pool's largest volume of this type is %d bytes when it is empty", most)
	}
	return e
}

// list tells of each root and node what it could take, or why nothing.
func (from candidates) list() string {
	parts := slices.Concat(from.short, from.refused)
	for _, c := range from.usable {
		parts = append(parts, fmt.Sprintf("%s/%s: room for %d bytes", c.node.Name, c.root, c.room))
	}
	const most = 20
	if len(parts) > most {
		parts = append(parts[:most], fmt.Sprintf("and %d more", len(parts)-most))
	}
	return strings.Join(parts, "; ")
}

func distinctNodes(cs []candidate) int {
	nodes := map[*Node]bool{}
	for _, c := range cs {
		nodes[c.node] = true
	}
	return len(nodes)
}

// largest returns the size of the largest volume of that type that has a place.
func largest(t volume.Type, from []candidate) volume.Size {
	unit := t.SizeUnit()
	return unit * bisect(volume.MaxSize/unit, func(n volume.Size) bool {
		_, err := place("", t, n*unit, from, anywhere)
		return err == nil
	})
}

// available returns how much volume space of that type fits in all: the largest
// total T such that bricks of weight w can be spread over the nodes with no
// node taking part in a volume twice, which holds as long as
// sum over nodes of min(room, T) >= T * sum of w (and each w is at most 1).
func available(t volume.Type, from []candidate) volume.Size {
	perNode := map[*Node]volume.Size{}
	for _, c := range from {
		perNode[c.node] += c.room
	}
	if len(perNode) < t.Bricks() {
		return 0
	}
	unit := t.SizeUnit()
	return unit * bisect(volume.MaxSize/unit/volume.Size(len(perNode)), func(n volume.Size) bool {
		total := n * unit
		var need, have float64
		var heaviest volume.Size
		for position := range t.Bricks() {
			q := t.BrickQuota(position, total)
			need += float64(q)
			heaviest = max(heaviest, q)
		}
		for _, room := range perNode {
			have += math.Min(float64(room), float64(heaviest))
		}
		return have >= need
	})
}

// bisect returns the largest n from 0 to most for which ok holds, given that ok
// holds for 0 and never holds again once it failed.
func bisect(most volume.Size, ok func(n volume.Size) bool) volume.Size {
	low, high := volume.Size(0), most+1
	for high-low > 1 {
		if middle := low + (high-low)/2; ok(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}
