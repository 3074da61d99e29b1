package plain

import (
	"context"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/volume"
)

// Capacity implements volume.Backend. Nodes that do not answer, or take no brick
// now, count as full.
func (b *Backend) Capacity(ctx context.Context, _ string, p volume.Parameters) (volume.Capacity, error) {
	s := b.ask(ctx, capacityProbe, true)
	if len(s.silent) == len(b.Nodes) {
		return volume.Capacity{}, s.silence("measure the capacity", "pool "+b.Pool)
	}
	from := b.candidates(s, p, func(node string, d agent.Description) string { return b.guard.Shortage(node, d, s.asked) })
	return volume.Capacity{
		Available: available(p.Type, from.usable),
		Largest:   largest(p.Type, from.usable),
		Smallest:  p.Type.SizeUnit(),
	}, nil
}

// capacityProbe is a name that no volume has: a prefix of hashed names without
// its hash, so that the survey for it returns no bricks.
const capacityProbe = "bl-"
