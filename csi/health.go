package csi

import (
	"context"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"

	"bricklayer.csi/internal/volume"
)

// ControllerGetVolumeHealth says what is wrong with one volume.
func (c *Controller) ControllerGetVolumeHealth(ctx context.Context, req *csipb.ControllerGetVolumeHealthRequest) (*csipb.ControllerGetVolumeHealthResponse, error) {
	h, err := volume.ParseHandle(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	health, err := c.volumes.Health(ctx, h)
	if err != nil {
		return nil, err
	}
	return &csipb.ControllerGetVolumeHealthResponse{VolumeHealth: toHealth(health)}, nil
}

// healthAtOnce bounds how many volumes are looked after at the same time: each
// costs glusterd a status and a heal query.
const healthAtOnce = 4

// ControllerListVolumeHealth returns the volumes that something is wrong with,
// page by page.
func (c *Controller) ControllerListVolumeHealth(ctx context.Context, req *csipb.ControllerListVolumeHealthRequest) (*csipb.ControllerListVolumeHealthResponse, error) {
	if err := checkMaxEntries(req.GetMaxEntries()); err != nil {
		return nil, err
	}
	if _, err := parseToken(req.GetStartingToken()); err != nil {
		return nil, err
	}
	all, err := c.volumes.List(ctx)
	if err != nil {
		return nil, err
	}
	left, err := rest(all, req.GetStartingToken())
	if err != nil {
		return nil, err
	}
	most := int(req.GetMaxEntries())
	resp := &csipb.ControllerListVolumeHealthResponse{}
	for len(left) > 0 {
		batch := left[:min(len(left), healthAtOnce)]
		left = left[len(batch):]
		found, err := c.healths(ctx, batch)
		if err != nil {
			return nil, err
		}
		for i, h := range found {
			if len(h.Problems) == 0 {
				continue
			}
			if most > 0 && len(resp.Entries) == most {
				resp.NextToken = tokenBefore(all, batch[i])
				return resp, nil
			}
			resp.Entries = append(resp.Entries, toHealth(h))
		}
	}
	return resp, nil
}

// tokenBefore returns the token of the page that begins with v.
func tokenBefore(all []volume.Volume, v volume.Volume) string {
	for i := 1; i < len(all); i++ {
		if all[i].Handle == v.Handle {
			return token(all[i-1].Handle)
		}
	}
	return ""
}

// healths looks after a few volumes at once. One that cannot be looked after is
// reported as such; one that was deleted meanwhile is left out.
func (c *Controller) healths(ctx context.Context, batch []volume.Volume) ([]volume.Health, error) {
	found := make([]volume.Health, len(batch))
	group, ctx := errgroup.WithContext(ctx)
	for i, v := range batch {
		group.Go(func() error {
			h, err := c.volumes.Health(ctx, v.Handle)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil && !volume.Is(err, volume.NotFound):
				h = volume.Health{Handle: v.Handle, Problems: []volume.Problem{{Kind: volume.Unknown, Detail: err.Error()}}}
			}
			found[i] = h
			return nil
		})
	}
	return found, group.Wait()
}
