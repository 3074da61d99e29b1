package trace_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"bricklayer.csi/internal/trace"
)

// sink is what traces are sent to.
type sink struct {
	collector.UnimplementedTraceServiceServer

	mu       sync.Mutex
	spans    map[string]*spans.Span
	services map[string]bool
}

func (s *sink) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range r.GetResourceSpans() {
		for _, a := range of.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				s.services[a.GetValue().GetStringValue()] = true
			}
		}
		for _, in := range of.GetScopeSpans() {
			for _, span := range in.GetSpans() {
				s.spans[span.GetName()+" "+span.GetKind().String()] = span
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// serve runs a gRPC server on loopback until the test ends, and returns its address.
func serve(t *testing.T, s *grpc.Server) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// health is a service that does a part of its work in a span of its own, and fails.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (health) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	trace.Request(ctx, "the-id")
	_, end := trace.Span(ctx, "inner")
	end(errors.New("it went wrong"))
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

// A request is one trace from its first part through a call to another process and
// what is done there, and it carries the ID by which logs call it.
func TestOneTraceThroughACall(t *testing.T) {
	s := &sink{spans: map[string]*spans.Span{}, services: map[string]bool{}}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, s)
	endpoint := "http://" + serve(t, server)
	t.Setenv(trace.Endpoint, endpoint)
	stop, err := trace.Send(t.Context(), endpoint, "test", "v1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	served := grpc.NewServer(trace.Server())
	grpc_health_v1.RegisterHealthServer(served, health{})
	conn, err := grpc.NewClient(serve(t, served), grpc.WithTransportCredentials(insecure.NewCredentials()), trace.Client())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, end := trace.Span(t.Context(), "outer")
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	end(nil)
	stop()

	const call = "grpc.health.v1.Health/Check SPAN_KIND_"
	var parent *spans.Span
	for _, name := range []string{"outer SPAN_KIND_INTERNAL", call + "CLIENT", call + "SERVER", "inner SPAN_KIND_INTERNAL"} {
		span := s.spans[name]
		if span == nil {
			t.Fatalf("no span %q among %v", name, s.spans)
		}
		if parent != nil && (!bytes.Equal(span.GetParentSpanId(), parent.GetSpanId()) || !bytes.Equal(span.GetTraceId(), parent.GetTraceId())) {
			t.Errorf("%s is not below %s", name, parent.GetName())
		}
		parent = span
	}
	if got := parent.GetStatus(); got.GetCode() != spans.Status_STATUS_CODE_ERROR || got.GetMessage() != "it went wrong" {
		t.Errorf("the part that failed says %v", got)
	}
	if id := s.spans[call+"SERVER"].String(); !strings.Contains(id, "the-id") {
		t.Errorf("no request ID in %s", id)
	}
	if !s.services["bricklayer-test"] {
		t.Errorf("services are %v", s.services)
	}
}

func TestNoTraces(t *testing.T) {
	stop, err := trace.Send(t.Context(), "", "test", "v1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop()
}
