package plain

import (
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
// pool has. It needs no record: the IDs in use are read from the marks on the
// brick roots. Call release once the volume's own marks are written.
func (b *Backend) chooseGID(s survey, name string, p volume.Parameters) (gid int, release func(), err error) {
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
	gid, err = p.ChooseGID(name, volume.MaxGID, func(gid int) bool { return used[gid] || r.held[gid] })
	if err != nil {
		return 0, nil, err
	}
	r.held[gid] = true
	return gid, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.held, gid)
	}, nil
}
