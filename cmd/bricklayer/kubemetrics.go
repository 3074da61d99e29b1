package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/util/workqueue"

	"bricklayer.csi/csi"
	"bricklayer.csi/internal/poolmetrics"
	"bricklayer.csi/internal/volume"
)

// telemetry is what a controller tells about itself over HTTP.
type telemetry struct {
	registry   *prometheus.Registry
	operations *prometheus.HistogramVec
	running    *prometheus.GaugeVec
	leader     prometheus.Gauge
	pools      poolmetrics.Collector
}

func newTelemetry() *telemetry {
	t := &telemetry{
		registry: prometheus.NewRegistry(),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "bricklayer_operation_seconds",
			Help:    "How long operations on volumes took, by what they did and how they ended: ok, or a kind of error.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120},
		}, []string{"operation", "result"}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bricklayer_operations_in_progress",
			Help: "How many operations on volumes run or wait for their turn.",
		}, []string{"operation"}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bricklayer_controller_leader",
			Help: "1 where this controller does what one alone may do: it holds the lease, or there is none to hold.",
		}),
	}
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), t.operations, t.running, t.leader, &t.pools)
	queues.register(t.registry)
	return t
}

// serve serves /metrics, /healthz and /readyz until ctx ends.
func (t *telemetry) serve(ctx context.Context, address string, ready func(context.Context) error, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{}))
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

// leads says that this controller leads, until ctx ends.
func (t *telemetry) leads(ctx context.Context) {
	t.leader.Set(1)
	defer t.leader.Set(0)
	<-ctx.Done()
}

// watch looks at pools from files for the metrics, until ctx ends. Those of an API
// server the operator looks at.
func (t *telemetry) watch(served *pools) func(context.Context) {
	return func(ctx context.Context) {
		t.pools.Watch(ctx, poolmetrics.DefaultPeriod, func() []poolmetrics.Pool {
			var all []poolmetrics.Pool
			for name, s := range served.snapshot() {
				if m, ok := served.members(name); ok {
					all = append(all, poolmetrics.Pool{Resource: s.resource, Members: m})
				}
			}
			return all
		})
	}
}

// readyTime bounds one look at whether the pools answer.
const readyTime = 5 * time.Second

// measured counts and times operations on volumes, whoever asks for them.
type measured struct {
	csi.Volumes
	*telemetry
}

// measure begins to measure one operation; call what it returns at its end.
func (t *telemetry) measure(operation string) func(error) {
	began := time.Now()
	t.running.WithLabelValues(operation).Inc()
	return func(err error) {
		t.running.WithLabelValues(operation).Dec()
		result := "ok"
		if err != nil {
			result = volume.KindOf(err).String()
		}
		t.operations.WithLabelValues(operation, result).Observe(time.Since(began).Seconds())
	}
}

func (m measured) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	end := m.measure("create")
	v, err := m.Volumes.Create(ctx, spec)
	end(err)
	return v, err
}

func (m measured) Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (volume.Volume, error) {
	end := m.measure("expand")
	v, err := m.Volumes.Expand(ctx, h, size)
	end(err)
	return v, err
}

func (m measured) Delete(ctx context.Context, h volume.Handle) error {
	end := m.measure("delete")
	err := m.Volumes.Delete(ctx, h)
	end(err)
	return err
}

// queueMetrics are those of the work queues, with Kubernetes' own names for
// them. Queues find them by a provider that a process has just one of.
type queueMetrics struct {
	provide sync.Once
	depth   *prometheus.GaugeVec
	adds    *prometheus.CounterVec
	retries *prometheus.CounterVec
	waited  *prometheus.HistogramVec
	worked  *prometheus.HistogramVec
	// unfinished and longest tell of work that hangs.
	unfinished, longest *prometheus.GaugeVec
}

var queues = newQueueMetrics()

func newQueueMetrics() *queueMetrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Subsystem: "workqueue", Name: name, Help: help}, []string{"name"})
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Subsystem: "workqueue", Name: name, Help: help}, []string{"name"})
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Subsystem: "workqueue", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(.001, 4, 10),
		}, []string{"name"})
	}
	return &queueMetrics{
		depth:      gauge("depth", "How many items wait in a queue."),
		adds:       counter("adds_total", "How many items were put into a queue."),
		retries:    counter("retries_total", "How many items were put into a queue again after a failure."),
		waited:     histogram("queue_duration_seconds", "How long an item waited in a queue."),
		worked:     histogram("work_duration_seconds", "How long an item was worked on."),
		unfinished: gauge("unfinished_work_seconds", "How long the items have been worked on that are worked on now, together."),
		longest:    gauge("longest_running_processor_seconds", "How long the item has been worked on that takes longest."),
	}
}

func (q *queueMetrics) register(r prometheus.Registerer) {
	q.provide.Do(func() { workqueue.SetProvider(q) })
	r.MustRegister(q.depth, q.adds, q.retries, q.waited, q.worked, q.unfinished, q.longest)
}

func (q *queueMetrics) NewDepthMetric(name string) workqueue.GaugeMetric {
	return q.depth.WithLabelValues(name)
}

func (q *queueMetrics) NewAddsMetric(name string) workqueue.CounterMetric {
	return q.adds.WithLabelValues(name)
}

func (q *queueMetrics) NewLatencyMetric(name string) workqueue.HistogramMetric {
	return q.waited.WithLabelValues(name)
}

func (q *queueMetrics) NewWorkDurationMetric(name string) workqueue.HistogramMetric {
	return q.worked.WithLabelValues(name)
}

func (q *queueMetrics) NewUnfinishedWorkSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return q.unfinished.WithLabelValues(name)
}

func (q *queueMetrics) NewLongestRunningProcessorSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return q.longest.WithLabelValues(name)
}

func (q *queueMetrics) NewRetriesMetric(name string) workqueue.CounterMetric {
	return q.retries.WithLabelValues(name)
}
