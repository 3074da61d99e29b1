// Package trace owns the spans of traces: where they are sent, how they follow a
// request from one process to the next, and how a part of the work becomes one.
//
// They are OpenTelemetry's. It refuses to decide what is worth a span: who does the
// work says so.
package trace

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
)

// flushTime bounds how long the last spans may take to get out when a process ends.
const flushTime = 3 * time.Second

// Variables of the environment of which the first that is set names where to send
// traces. The exporter reads them, and the others of their kind (headers,
// certificate, sampler), by itself.
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/
const (
	TracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	Endpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
)

// Send has the spans of a process sent over OTLP and gRPC until stop is called, which
// sends what is left. Endpoint is what the environment says; where it is empty spans
// cost next to nothing. It fails where the environment says what makes no sense.
func Send(ctx context.Context, endpoint, service, version string, log *slog.Logger) (stop func(), err error) {
	if endpoint == "" {
		return func() {}, nil
	}
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("send traces to %s: %w", endpoint, err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "bricklayer-"+service), attribute.String("service.version", version),
	), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("traces: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))
	ctx = context.WithoutCancel(ctx)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.WarnContext(ctx, "traces are not sent", "endpoint", endpoint, "error", err)
	}))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	otel.SetTracerProvider(provider)
	log.InfoContext(ctx, "traces are sent", "endpoint", endpoint)
	return func() {
		ctx, cancel := context.WithTimeout(ctx, flushTime)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.WarnContext(ctx, "the last traces were not sent", "endpoint", endpoint, "error", err)
		}
	}, nil
}

// Span begins a part of the work that ctx is about; end takes its outcome.
func Span(ctx context.Context, name string, attributes ...attribute.KeyValue) (_ context.Context, end func(error)) {
	ctx, span := otel.Tracer("bricklayer.csi").Start(ctx, name, api.WithAttributes(attributes...))
	return ctx, func(err error) {
		if err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

// Request notes the ID by which logs call a request in the span that ctx is in.
func Request(ctx context.Context, id string) {
	api.SpanFromContext(ctx).SetAttributes(attribute.String("bricklayer.request_id", id))
}

// Server has a gRPC server make a span of each call, below its caller's.
func Server() grpc.ServerOption { return grpc.StatsHandler(otelgrpc.NewServerHandler()) }

// Client has a gRPC client make a span of each call, and tell the server of it.
func Client() grpc.DialOption { return grpc.WithStatsHandler(otelgrpc.NewClientHandler()) }
