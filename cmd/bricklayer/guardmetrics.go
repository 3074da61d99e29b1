package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/volume"
)

// guardCollector tells what admits operations in the pools that are served now.
type guardCollector struct{ pools *pools }

var (
	guardRefusals = prometheus.NewDesc("bricklayer_guard_refusals_total",
		"How many operations were refused: the breaker is open, no turn came in time (turns), too few storage nodes have memory or may have more bricks (budget).", []string{"pool", "backend", "reason"}, nil)
	guardBreaker = prometheus.NewDesc("bricklayer_guard_breaker_state",
		"1 for the state that the breaker of the backend is in (closed, open, half-open), 0 for the others.", []string{"pool", "backend", "state"}, nil)
	guardTurns = prometheus.NewDesc("bricklayer_guard_turns",
		"How many operations of the backend are running, how many are waiting for their turn, and how many may run now (limit).", []string{"pool", "backend", "state"}, nil)
)

// Describe implements prometheus.Collector.
func (guardCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{guardRefusals, guardBreaker, guardTurns} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c guardCollector) Collect(to chan<- prometheus.Metric) {
	for name, s := range c.pools.snapshot() {
		for backend, g := range s.guards() {
			tellGuard(to, g.State(), name, string(backend))
		}
	}
}

func tellGuard(to chan<- prometheus.Metric, s guard.State, pool, backend string) {
	say := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, word string) {
		to <- prometheus.MustNewConstMetric(d, kind, v, pool, backend, word)
	}
	for reason, n := range s.Refusals {
		say(guardRefusals, prometheus.CounterValue, float64(n), string(reason))
	}
	for _, state := range guard.BreakerStates() {
		is := 0.0
		if s.Breaker == state {
			is = 1
		}
		say(guardBreaker, prometheus.GaugeValue, is, string(state))
	}
	say(guardTurns, prometheus.GaugeValue, float64(s.Running), "running")
	say(guardTurns, prometheus.GaugeValue, float64(s.Waiting), "waiting")
	say(guardTurns, prometheus.GaugeValue, float64(s.Limit), "limit")
}

// guards returns what admits operations to the pool's backends.
func (s servedPool) guards() map[volume.BackendName]*guard.Guard {
	all := map[volume.BackendName]*guard.Guard{}
	if s.plain != nil {
		all[volume.Plain] = s.plain.Admission()
	}
	if s.heketi != nil {
		all[volume.Heketi] = s.heketi.Admission()
	}
	return all
}
