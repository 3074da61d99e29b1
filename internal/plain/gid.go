package plain

import (
	"context"
	"fmt"
	"sync"

	"bricklayer.csi/internal/volume"
)

// gidReservations are group IDs given to volumes that are being made and whose
// marks are not on any root yet.
type gidReservations struct {
	mu   sync.Mutex
	held map[int]bool
}

func newGIDReservations() *gidReservations { return &gidReservations{held: map[int]bool{}} }

// chooseGID returns a group ID within the class's range that no volume of the
// pool has. It starts at a place that depends on the name, so that two
// controllers rarely meet, and needs no record: the IDs in use are read from
// the marks on the brick roots. Call release once the marks are written.
func (b *Backend) chooseGID(_ context.Context, s survey, name string, p volume.Parameters) (gid int, release func(), err error) {
	used := map[int]bool{}
	for _, d := range s.described {
		for _, r := range d.Roots {
			for _, g := range r.GIDs {
				used[g] = true
			}
		}
	}
	r := b.gids
	r.mu.Lock()
	defer r.mu.Unlock()
	span := p.GIDMax - p.GIDMin + 1
	start := int(rank("gid", name) % uint64(span))
	for i := range span {
		gid := p.GIDMin + (start+i)%span
		if used[gid] || r.held[gid] {
			continue
		}
		r.held[gid] = true
		return gid, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.held, gid)
		}, nil
	}
	return 0, nil, &volume.Error{
		Kind: volume.Exhausted, Op: "choose a group ID", On: "volume " + name,
		Err:  fmt.Errorf("every ID from gidMin %d to gidMax %d belongs to a volume", p.GIDMin, p.GIDMax),
		Next: "widen gidMin and gidMax in the StorageClass",
	}
}
