//go:build lab

package csi

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/lifecycle/lifecycletest"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// newLabDriver starts a whole plugin in which everything is real: agents,
// glusterd and XFS quotas on the lab's nodes, and FUSE mounts on this host. When
// the test ends nothing of it may be left on any node.
func newLabDriver(t *testing.T) *driver {
	t.Helper()
	backend := labtest.Backend(t)
	pools := lifecycletest.OnePool{Pool: backend.Pool, Name: volume.Plain, Backing: backend}
	return newLabDriverOver(t, pools, labtest.Leftovers)
}

// newHeketiDriver is the same over the lab's heketi, for classes with lvm "true".
func newHeketiDriver(t *testing.T, config heketi.Config) *driver {
	t.Helper()
	backend := labtest.NewHeketi(t, config)
	pools := lifecycletest.OnePool{Pool: backend.Pool, Name: volume.Heketi, Backing: backend, HeketiURL: config.URL}
	return newLabDriverOver(t, pools, labtest.HeketiLeftovers)
}

func newLabDriverOver(t *testing.T, pools lifecycletest.OnePool, leftovers func(context.Context) ([]string, error)) *driver {
	t.Helper()
	d := &driver{log: &logBuffer{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(d.log.String())
		}
	})
	t.Cleanup(func() {
		if left, err := leftovers(testContext(t)); err != nil || len(left) > 0 {
			t.Errorf("left on the nodes: %v\n%s", err, strings.Join(left, "\n"))
		}
	})
	log := slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	mounts, err := mount.New(mount.Options{LogDir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	d.serve(t, NewController(pools.Service(), log), mounts, log)
	return d
}

func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// noClients fails the test where a FUSE process or a mount is left below dir.
func noClients(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "pgrep", "-af", "glusterfs .*"+dir).Output(); err == nil {
		t.Errorf("clients are left:\n%s", out)
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(table), dir) {
		t.Errorf("mounts are left below %s: %v", dir, err)
	}
}
