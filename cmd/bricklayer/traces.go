package main

import (
	"cmp"
	"context"
	"log/slog"

	"bricklayer.csi/internal/trace"
)

// sendTraces has the spans of this process sent where the environment says so, until
// stop is called.
func (e environment) sendTraces(ctx context.Context, service string, log *slog.Logger) (stop func(), err error) {
	return trace.Send(ctx, cmp.Or(e.getenv(trace.TracesEndpoint), e.getenv(trace.Endpoint)), service, version, log)
}
