// Package monitoring holds alert rules for Prometheus, their tests, and a
// dashboard for Grafana, with tests that they ask only for what a service
// really exports.
//
// It owns what is worth a person's attention, and refuses to know how a figure
// comes about: metrics.txt, made from services that run, says what there is.
package monitoring
