//go:build lab

package csi

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"testing"

	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/volume"
)

// lvm has TestSanity run over heketi. TestSanityOverHeketi gives it to a test
// program of its own, because ginkgo runs one suite a process.
var lvm = flag.Bool("lvm", false, `run TestSanity on volumes of a class with lvm "true"`)

// shortSanity are the specs that run with -short: they make, refuse, list, expand,
// stage, publish and delete. The whole of csi-sanity runs over nodes in memory with
// the unit tests.
const shortSanity = "GetCapacity|ListVolumes should return|already existing name and different capacity|" +
	"ExpandVolume.*should work|Node Service should be idempotent"

// TestSanity runs csi-sanity over real storage nodes and real mounts: some specs of
// it with -short, else the whole.
func TestSanity(t *testing.T) {
	if testing.Short() {
		if err := flag.Set("ginkgo.focus", shortSanity); err != nil {
			t.Fatal(err)
		}
	}
	if *lvm {
		d := newHeketiDriver(t, labtest.HeketiConfig(t, true))
		noClients(t, runSanity(t, d.endpoint, 1<<30, volume.Heketi, map[string]string{"lvm": "true"}))
		return
	}
	d := newLabDriver(t)
	noClients(t, runSanity(t, d.endpoint, 1<<30, volume.Plain, nil))
}

// TestSanityOverHeketi runs it over volumes that heketi makes.
func TestSanityOverHeketi(t *testing.T) {
	if testing.Short() {
		t.Skip("heketi takes a minute and more for each volume; make test-lab-long runs it")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := slices.Concat(os.Args[1:], []string{"-test.run=^TestSanity$", "-test.v", "-lvm"})
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Errorf("csi-sanity with lvm true: %v", err)
	}
}
