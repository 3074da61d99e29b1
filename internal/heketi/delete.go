package heketi

import (
	"context"
	"errors"

	client "github.com/heketi/heketi/client/api/go-client"

	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/volume"
)

// Delete implements volume.Backend.
func (b *Backend) Delete(ctx context.Context, h volume.Handle) error {
	const op = "delete volume"
	return b.guard.Do(ctx, guard.Request{Flow: guard.FlowDelete, Op: op, On: b.on(h)}, func(turn *guard.Turn) error {
		return b.change(ctx, task{op: op, handle: h, alone: true, doomed: true}, func(ctx context.Context, _ *view, f found) (*change, error) {
			if f.id == "" {
				if err := f.refuseForeign(op, b.on(h), volume.Precondition); err != nil {
					return nil, err
				}
				return nil, b.refuseForgotten(ctx, op, h)
			}
			return &change{ask: func(_ context.Context, c *client.Client, _ *view, f found) error {
				turn.Whole()
				return c.VolumeDelete(f.id)
			}}, nil
		})
	})
}

// Undo implements volume.Backend. What an interrupted Create left is cleared
// away by converge; so when it comes to us there is nothing, or a whole volume.
// What runs is not waited for: it is another caller's, or will be found by the
// next call.
func (b *Backend) Undo(ctx context.Context, h volume.Handle) error {
	const op = "undo the creation"
	return b.change(ctx, task{op: op, handle: h, hasty: true}, func(_ context.Context, _ *view, f found) (*change, error) {
		if f.id != "" {
			return nil, &volume.Error{Kind: volume.Precondition, Op: op, On: b.on(h), Err: errors.New("it is not an unfinished volume of ours")}
		}
		return nil, nil //nolint:nilnil // nothing is left to do
	})
}

// change carries a task out under the pool's own credentials.
func (b *Backend) change(ctx context.Context, t task, next func(ctx context.Context, v *view, f found) (*change, error)) error {
	ctx, cancel := hurry(ctx)
	defer cancel()
	l, err := b.poolLogin(ctx)
	if err != nil {
		return err
	}
	t.login, t.clusters, t.next = l, b.ClusterIDs, next
	return b.converge(ctx, t)
}
