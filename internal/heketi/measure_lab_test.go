//go:build lab

package heketi_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/volume"
)

var kinds = flag.Int("kinds", 0, "how many volumes of each kind TestCreateAndDeleteOfBothKinds makes; 0 skips it")

// TestCreateAndDeleteOfBothKinds makes and deletes volumes on bricks that are
// directories and on bricks that heketi makes, in turn, in the same lab, so that
// the machine's moods hit both. Everything else is equal: 1 GiB, three copies,
// the same nodes, one call at a time. One volume of each kind exists all the
// time, so that nobody pays for the first start of Gluster's daemons.
func TestCreateAndDeleteOfBothKinds(t *testing.T) {
	if *kinds == 0 {
		t.Skip("it measures and takes minutes: run it with -kinds 10")
	}
	type kind struct {
		name           string
		backend        volume.Backend
		lvm            string
		create, delete []time.Duration
	}
	both := []*kind{
		{name: "plain", backend: labtest.Backend(t), lvm: "false"},
		{name: "heketi", backend: newBackend(t, true), lvm: "true"},
	}
	once := func(k *kind, name string) (create, remove time.Duration) {
		spec := labtest.Spec(t, name, volume.GiB, "lvm", k.lvm)
		began := time.Now()
		if _, err := k.backend.Create(labContext(t), spec); err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		create = time.Since(began)
		began = time.Now()
		if err := k.backend.Delete(labContext(t), spec.Handle()); err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		return create, time.Since(began)
	}
	for _, k := range both {
		spec := labtest.Spec(t, "resident-"+k.name, volume.GiB, "lvm", k.lvm)
		if _, err := k.backend.Create(labContext(t), spec); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := k.backend.Delete(labContext(t), spec.Handle()); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range *kinds {
		for j := range both {
			k := both[(i+j)%len(both)] // each is first in every second round
			create, remove := once(k, fmt.Sprintf("both-%s-%d", k.name, i))
			k.create, k.delete = append(k.create, create), append(k.delete, remove)
			t.Logf("round %d: %s created in %.2f s, deleted in %.2f s", i, k.name, create.Seconds(), remove.Seconds())
		}
	}
	for _, k := range both {
		t.Logf("| %s | create %s | delete %s |", k.name, spread(k.create), spread(k.delete))
	}
	ratio := func(of func(*kind) []time.Duration) float64 {
		return median(of(both[1])).Seconds() / median(of(both[0])).Seconds()
	}
	t.Logf("heketi / plain, medians: create %.1f, delete %.1f",
		ratio(func(k *kind) []time.Duration { return k.create }), ratio(func(k *kind) []time.Duration { return k.delete }))
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// spread is the median with the shortest and the longest.
func spread(times []time.Duration) string {
	return fmt.Sprintf("%.2f s (%.2f to %.2f)", median(times).Seconds(), slices.Min(times).Seconds(), slices.Max(times).Seconds())
}
