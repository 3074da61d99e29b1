package plain

import (
	"context"

	"bricklayer.csi/internal/volume"
)

// Capacity implements volume.Backend. Nodes that do not answer count as full.
func (b *Backend) Capacity(ctx context.Context, _ string, p volume.Parameters) (volume.Capacity, error) {
	s := b.ask(ctx, capacityProbe, true)
	if len(s.silent) == len(b.Nodes) {
		return volume.Capacity{}, s.silence("measure the capacity", "pool "+b.Pool)
	}
	usable, _ := b.candidates(s.described, s.silent, p)
	return volume.Capacity{
		Available: available(p.Type, usable),
		Largest:   largest(p.Type, usable),
		Smallest:  p.Type.SizeUnit(),
	}, nil
}

// capacityProbe is a name that no volume has: a prefix of hashed names without
// its hash, so that the survey for it returns no bricks.
const capacityProbe = "bl-"
