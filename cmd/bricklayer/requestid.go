package main

import (
	"context"

	"bricklayer.csi/agent"
	"bricklayer.csi/csi"
	"bricklayer.csi/internal/volume"
)

// withRequestID hands the ID of a CSI request on to the agents, so that one ID
// finds all log lines of a request. The CSI services know no agent, and the
// agents no CSI; this is where the two meet.
type withRequestID struct{ csi.Volumes }

func tagged(ctx context.Context) context.Context {
	if id := csi.RequestID(ctx); id != "" {
		return agent.WithRequestID(ctx, id)
	}
	return ctx
}

func (w withRequestID) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	return w.Volumes.Create(tagged(ctx), spec)
}

func (w withRequestID) Get(ctx context.Context, h volume.Handle) (volume.Volume, error) {
	return w.Volumes.Get(tagged(ctx), h)
}

func (w withRequestID) List(ctx context.Context) ([]volume.Volume, error) {
	return w.Volumes.List(tagged(ctx))
}

func (w withRequestID) Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (volume.Volume, error) {
	return w.Volumes.Expand(tagged(ctx), h, size)
}

func (w withRequestID) Delete(ctx context.Context, h volume.Handle) error {
	return w.Volumes.Delete(tagged(ctx), h)
}

func (w withRequestID) Capacity(ctx context.Context, parameters map[string]string, zones []string) (volume.Capacity, error) {
	return w.Volumes.Capacity(tagged(ctx), parameters, zones)
}

func (w withRequestID) Health(ctx context.Context, h volume.Handle) (volume.Health, error) {
	return w.Volumes.Health(tagged(ctx), h)
}
