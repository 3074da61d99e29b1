package heketi

import (
	"context"
	"fmt"

	client "github.com/heketi/heketi/client/api/go-client"
	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/volume"
)

// Expand implements volume.Backend. heketi grows a volume by what it is told,
// each time that it is told: so what is missing is computed from the size that
// its database has at our turn, with no expansion under way.
func (b *Backend) Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (grown volume.Volume, err error) {
	const op = "expand volume"
	err = b.guard.Do(ctx, guard.Request{Flow: guard.FlowExpand, Op: op, On: b.on(h)}, func(turn *guard.Turn) error {
		grown, err = b.expand(ctx, turn, op, h, size)
		return err
	})
	return grown, err
}

// expand is Expand when its turn has come.
func (b *Backend) expand(ctx context.Context, turn *guard.Turn, op string, h volume.Handle, size volume.SizeRange) (volume.Volume, error) {
	var grown volume.Volume
	err := b.change(ctx, task{op: op, handle: h, alone: true}, func(_ context.Context, v *view, f found) (*change, error) {
		if f.id == "" {
			return nil, notFound(op, b.on(h))
		}
		want, err := b.target(f, size, op)
		if err != nil {
			return nil, err
		}
		grown = v.describe(h, f)
		if want == f.size() {
			return nil, nil //nolint:nilnil // nothing is left to do
		}
		return &change{ask: func(_ context.Context, c *client.Client, v *view, f found) error {
			turn.Whole()
			want, err := b.target(f, size, op)
			if err != nil {
				return err
			}
			if err := v.refuseGrowth(b, op, h, f, want-f.size()); err != nil {
				return err
			}
			_, err = c.VolumeExpand(f.id, &api.VolumeExpandRequest{Size: int((want - f.size()) / volume.GiB)})
			return err
		}}, nil
	})
	if err != nil {
		return volume.Volume{}, err
	}
	return grown, nil
}

// target returns the size that the volume shall have: its own where that is enough.
func (b *Backend) target(f found, size volume.SizeRange, op string) (volume.Size, error) {
	have := f.size()
	if size.Limit != 0 && have > size.Limit {
		return 0, &volume.Error{
			Kind: volume.OutOfRange, Op: op, On: f.entry.Info.Name,
			Err: fmt.Errorf("it has %d bytes, more than the limit of %d; volumes do not shrink", have, size.Limit),
		}
	}
	if have >= size.Required {
		return have, nil
	}
	// Another set of bricks cannot be smaller than one brick each.
	size.Required = max(size.Required, have+leastSize(typeOf(f.entry.Info.Durability)))
	return size.Pick(unit)
}

// refuseGrowth returns an error where the volume's cluster has no room for so
// much more. heketi would find out by itself; we say it at once, and better.
func (v *view) refuseGrowth(b *Backend, op string, h volume.Handle, f found, delta volume.Size) error {
	p := volume.Parameters{Type: typeOf(f.entry.Info.Durability)}
	p.Heketi.SnapFactor = float64(f.entry.Info.Snapshot.Factor)
	most := v.largest(f.entry.Info.Cluster, p, freeNow)
	if delta <= most {
		return nil
	}
	return &volume.Error{
		Kind: volume.Exhausted, Op: op, On: b.on(h),
		Err:  fmt.Errorf("it lacks %d bytes, and its cluster has room for at most %d more", delta, most),
		Next: addRoom,
	}
}
