// Package telemetry owns what every process of Bricklayer tells about itself over
// HTTP: /metrics for Prometheus, /healthz and /readyz.
//
// It has the metrics that all processes share: the build, and the gRPC calls that
// they serve (calls.go). It refuses to know what a process does: its own metrics a
// process registers itself.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Telemetry is what one process tells. Make it with New.
type Telemetry struct {
	// Registry has the metrics of /metrics.
	Registry *prometheus.Registry
	// Calls are the gRPC calls that the process serves.
	Calls *Calls
}

// New returns what a process of that version tells from the start.
func New(version string) *Telemetry {
	t := &Telemetry{Registry: prometheus.NewRegistry(), Calls: newCalls()}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "bricklayer_build_info",
		Help:        "Always 1: its labels say what is running.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	t.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build, t.Calls.handled, t.Calls.took)
	return t
}

// readyTime bounds one look at whether the process is ready, and how long a
// scraper may take to send its request.
const readyTime = 5 * time.Second

// Serve serves on a TCP address until ctx ends. It returns nil at once where the
// address is empty, and an error where it cannot listen. Ready says why the process
// is not ready; it is asked anew for each request, within 5 s.
func (t *Telemetry) Serve(ctx context.Context, address string, ready func(context.Context) error, log *slog.Logger) error {
	if address == "" {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTime)
		defer cancel()
		if err := ready(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for --metrics-address %s: %w", address, err)
	}
	log.InfoContext(ctx, "metrics are served", "address", listener.Addr().String())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: readyTime}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // a scraper repeats
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics on %s: %w", address, err)
	}
	return nil
}
