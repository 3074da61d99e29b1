//go:build !lab

package csi

import (
	"testing"

	"bricklayer.csi/internal/volume"
)

// TestSanity runs csi-sanity over storage nodes and mounts in memory.
func TestSanity(t *testing.T) {
	d := newDriver(t)
	runSanity(t, d.endpoint, 1<<30, volume.Plain, nil)
	d.cluster.CheckEmpty(t)
	if table, err := d.mounts.Mounts(t.Context()); err != nil || len(table) > 0 {
		t.Errorf("mounts are left: %v, %v", table, err)
	}
}
