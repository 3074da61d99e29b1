//go:build lab

package lab

import (
	"strings"
	"testing"
)

// The lab's heketi makes a volume on the raw disks; it survives the restart of a
// node, and nothing of it survives a reset.
func TestHeketiInTheLab(t *testing.T) {
	l := Current()
	if err := l.EnsureHeketi(t.Context()); err != nil {
		t.Fatal(err)
	}
	heketi := func(args ...string) string {
		t.Helper()
		out, err := l.Heketi(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	heketi("volume", "create", "--size=1", "--replica=3", "--name=by-hand")
	if err := l.Restart(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	if err := l.KillHeketi(t.Context()); err != nil {
		t.Fatal(err)
	}
	l = up(t, l.Config())
	if list := heketi("volume", "list"); !strings.Contains(list, "by-hand") {
		t.Errorf("after a kill of heketi it lists %q", list)
	}
	if mounts := onNode(t, l, "n2", "cat", "/proc/mounts"); strings.Count(mounts, "/var/lib/heketi/mounts/") != 1 {
		t.Errorf("after its restart n2 has mounted:\n%s", mounts)
	}
	if err := l.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	if err := l.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := heketi("volume", "list"); strings.Contains(list, "by-hand") {
		t.Errorf("after a reset it lists %q", list)
	}
	if topology := heketi("topology", "info"); strings.Count(topology, "/dev/ubdb") != len(l.nodes) {
		t.Errorf("after a reset the topology is:\n%s", topology)
	}
	if left := onNode(t, l, "n2", "sh", "-c", "lvs --noheadings; ls /var/lib/heketi/mounts; grep heketi /etc/fstab; true"); strings.TrimSpace(strings.ReplaceAll(left, "vg_", "")) != "" {
		t.Logf("n2 after the reset: %s", left)
		if strings.Contains(left, "brick") {
			t.Error("bricks are left")
		}
	}
}
