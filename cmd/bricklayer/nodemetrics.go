package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bricklayer.csi/csi"
)

// mountCollector tells how many volumes are mounted on a node. It reads the mount
// table when it is scraped, and asks no Gluster client: one that hangs would hang it.
type mountCollector struct {
	node *csi.Node
	log  *slog.Logger
}

var mountsNow = prometheus.NewDesc("bricklayer_mounts",
	"How many mounts of Gluster volumes this node has: staged are clients, published are the places where pods see them.", []string{"kind"}, nil)

// tableTime bounds how long a scrape waits for the mount table, which the mount
// service may have to be asked for.
const tableTime = 2 * time.Second

// Describe implements prometheus.Collector.
func (mountCollector) Describe(to chan<- *prometheus.Desc) { to <- mountsNow }

// Collect implements prometheus.Collector. What is not known is left out.
func (c mountCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), tableTime)
	defer cancel()
	staged, published, err := c.node.CountMounts(ctx)
	if err != nil {
		c.log.WarnContext(ctx, "mounts are not counted", "error", err)
		return
	}
	to <- prometheus.MustNewConstMetric(mountsNow, prometheus.GaugeValue, float64(staged), "staged")
	to <- prometheus.MustNewConstMetric(mountsNow, prometheus.GaugeValue, float64(published), "published")
}
