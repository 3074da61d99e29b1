//go:build lab

package csi

import (
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

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
	d := &driver{log: &logBuffer{}, backend: labtest.Backend(t)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(d.log.String())
		}
	})
	t.Cleanup(func() {
		if left, err := labtest.Leftovers(testContext(t)); err != nil || len(left) > 0 {
			t.Errorf("left on the nodes: %v\n%s", err, strings.Join(left, "\n"))
		}
	})
	log := slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	mounts, err := mount.New(mount.Options{LogDir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	d.serve(t, NewController(lifecycletest.OnePool{Pool: d.backend.Pool, Name: volume.Plain, Backing: d.backend}.Service(), log), mounts, log)
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
