//go:build lab

package csi

import "testing"

// TestSanity runs csi-sanity over real storage nodes and real mounts.
func TestSanity(t *testing.T) {
	d := newLabDriver(t)
	dir := runSanity(t, d.endpoint, 1<<30)
	noClients(t, dir)
}
