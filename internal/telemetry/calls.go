package telemetry

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Calls counts and times the gRPC calls that a process serves, under the names that
// gRPC's own middleware has for them. A nil one does nothing.
//
// Labels are bounded: an interceptor sees methods that are registered only.
type Calls struct {
	handled *prometheus.CounterVec
	took    *prometheus.HistogramVec
}

func newCalls() *Calls {
	unary := prometheus.Labels{"grpc_type": "unary"}
	return &Calls{
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_handled_total", ConstLabels: unary,
			Help: "How many calls were answered, by the gRPC code that they were answered with.",
		}, []string{"grpc_service", "grpc_method", "grpc_code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "grpc_server_handling_seconds", ConstLabels: unary,
			Help:    "How long calls took until they were answered, however that was.",
			Buckets: []float64{.001, .01, .05, .1, .5, 1, 5, 10, 30, 60, 120},
		}, []string{"grpc_service", "grpc_method"}),
	}
}

// Intercept is the interceptor; it goes around those that give errors their code.
func (c *Calls) Intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if c == nil {
		return next(ctx, req)
	}
	service, method, _ := strings.Cut(strings.TrimPrefix(info.FullMethod, "/"), "/")
	began := time.Now()
	resp, err := next(ctx, req)
	c.took.WithLabelValues(service, method).Observe(time.Since(began).Seconds())
	c.handled.WithLabelValues(service, method, status.Code(err).String()).Inc()
	return resp, err
}

// Expect makes the series of all methods of a server, so that a method that nobody
// has called yet counts nothing, where it would be unknown.
func (c *Calls) Expect(server interface {
	GetServiceInfo() map[string]grpc.ServiceInfo
}) {
	if c == nil {
		return
	}
	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			if m.IsClientStream || m.IsServerStream {
				continue
			}
			c.took.WithLabelValues(service, m.Name)
			c.handled.WithLabelValues(service, m.Name, codes.OK.String())
		}
	}
}
