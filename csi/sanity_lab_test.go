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

// heketiSanity are the specs that run over heketi with -short. A volume takes it
// 30 seconds to make and delete, so these are few: they make, refuse, list,
// expand, stage, publish and delete.
const heketiSanity = "GetCapacity|ListVolumes should return|already existing name and different capacity|" +
	"ExpandVolume.*should work|Node Service should be idempotent"

// TestSanity runs csi-sanity over real storage nodes and real mounts.
func TestSanity(t *testing.T) {
	if *lvm {
		d := newHeketiDriver(t, labtest.HeketiConfig(t, true))
		noClients(t, runSanity(t, d.endpoint, 1<<30, volume.Heketi, map[string]string{"lvm": "true"}))
		return
	}
	d := newLabDriver(t)
	noClients(t, runSanity(t, d.endpoint, 1<<30, volume.Plain, nil))
}

// TestSanityOverHeketi runs it over volumes that heketi makes: some specs of it
// with -short, else the whole.
func TestSanityOverHeketi(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := slices.Concat(os.Args[1:], []string{"-test.run=^TestSanity$", "-test.v", "-lvm"})
	if testing.Short() {
		args = append(args, "-ginkgo.focus="+heketiSanity)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Errorf("csi-sanity with lvm true: %v", err)
	}
}
