package main

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"

	"bricklayer.csi/csi"
	"bricklayer.csi/internal/poolmetrics"
	"bricklayer.csi/internal/telemetry"
	"bricklayer.csi/internal/volume"
)

// controllerMetrics is what a controller tells about itself over HTTP.
type controllerMetrics struct {
	*telemetry.Telemetry
	operations *prometheus.HistogramVec
	running    *prometheus.GaugeVec
	leader     prometheus.Gauge
	pools      poolmetrics.Collector
}

func newControllerMetrics() *controllerMetrics {
	m := &controllerMetrics{
		Telemetry: telemetry.New(version),
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
	// Made now, a series shows its first failure as a rise; made by it, it would not.
	for _, operation := range []string{opCreate, opExpand, opDelete} {
		m.running.WithLabelValues(operation)
		m.operations.WithLabelValues(operation, resultOK)
		for _, kind := range volume.Kinds() {
			m.operations.WithLabelValues(operation, kind.String())
		}
	}
	m.Registry.MustRegister(m.operations, m.running, m.leader, &m.pools)
	queues.register(m.Registry)
	return m
}

// Operations on volumes, and the result of one that went well.
const (
	opCreate = "create"
	opExpand = "expand"
	opDelete = "delete"
	resultOK = "ok"
)

// leads says that this controller leads, until ctx ends.
func (m *controllerMetrics) leads(ctx context.Context) {
	m.leader.Set(1)
	defer m.leader.Set(0)
	<-ctx.Done()
}

// watch looks at pools from files for the metrics, until ctx ends. Those of an API
// server the operator looks at.
func (m *controllerMetrics) watch(served *pools) func(context.Context) {
	return func(ctx context.Context) {
		m.pools.Watch(ctx, poolmetrics.DefaultPeriod, func() []poolmetrics.Pool {
			var all []poolmetrics.Pool
			for name, s := range served.snapshot() {
				if members, ok := served.members(name); ok {
					all = append(all, poolmetrics.Pool{Resource: s.resource, Members: members})
				}
			}
			return all
		})
	}
}

// measured counts and times operations on volumes, whoever asks for them.
type measured struct {
	csi.Volumes
	metrics *controllerMetrics
}

// measure begins to measure one operation; call what it returns at its end.
func (m *controllerMetrics) measure(operation string) func(error) {
	began := time.Now()
	m.running.WithLabelValues(operation).Inc()
	return func(err error) {
		m.running.WithLabelValues(operation).Dec()
		result := resultOK
		if err != nil {
			result = volume.KindOf(err).String()
		}
		m.operations.WithLabelValues(operation, result).Observe(time.Since(began).Seconds())
	}
}

func (m measured) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	end := m.metrics.measure(opCreate)
	v, err := m.Volumes.Create(ctx, spec)
	end(err)
	return v, err
}

func (m measured) Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (volume.Volume, error) {
	end := m.metrics.measure(opExpand)
	v, err := m.Volumes.Expand(ctx, h, size)
	end(err)
	return v, err
}

func (m measured) Delete(ctx context.Context, h volume.Handle) error {
	end := m.metrics.measure(opDelete)
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
