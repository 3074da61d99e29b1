//go:build lab

package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// up brings the shared lab up again, and shows how when a test fails.
func up(t *testing.T, c Config) *Lab {
	t.Helper()
	var told bytes.Buffer
	l, err := Up(t.Context(), c, &told)
	if err != nil {
		t.Fatalf("up: %v\n%s", err, told.String())
	}
	t.Logf("up of lab %s:\n%s", c.Name, told.String())
	return l
}

// leaders are the first processes of a lab's nodes.
func leaders(t *testing.T, l *Lab) []int {
	t.Helper()
	var pids []int
	for _, n := range l.nodes {
		rec, err := loadPIDRecord(l.paths.pid(n.Name))
		if err != nil {
			t.Fatal(err)
		}
		p, ok := rec.leader()
		if !ok {
			t.Fatalf("node %s does not run", n.Name)
		}
		pids = append(pids, p.pid)
	}
	return pids
}

func onNode(t *testing.T, l *Lab, node string, argv ...string) string {
	t.Helper()
	out, err := l.Exec(t.Context(), node, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// makeVolume makes and starts a volume with a brick on each node.
func makeVolume(t *testing.T, l *Lab, name string) {
	t.Helper()
	argv := []string{"gluster", "--mode=script", "volume", "create", name}
	if len(l.nodes) > 1 {
		argv = append(argv, "replica", "3")
	}
	for _, n := range l.nodes {
		onNode(t, l, n.Name, "mkdir", "-p", "/bricks/root1/"+name)
		argv = append(argv, n.Address.String()+":/bricks/root1/"+name+"/brick")
	}
	onNode(t, l, "n1", argv...)
	onNode(t, l, "n1", "gluster", "--mode=script", "volume", "start", name)
}

func TestUpChangesNothingOnARunningLab(t *testing.T) {
	l := Current()
	before := leaders(t, l)
	start := time.Now()
	up(t, l.Config())
	t.Logf("took %v", time.Since(start))
	if d := cmp.Diff(before, leaders(t, l)); d != "" {
		t.Errorf("nodes were restarted (-before +after):\n%s", d)
	}
}

func TestUpRepairs(t *testing.T) {
	if testing.Short() {
		t.Skip("it boots nodes for minutes; make test-lab-long runs it")
	}
	l := up(t, Current().Config())
	if err := l.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	makeVolume(t, l, "repaired")
	n2, err := l.Node("n2")
	if err != nil {
		t.Fatal(err)
	}
	inGuest := func(script string) func(*testing.T) {
		return func(t *testing.T) { onNode(t, l, "n2", "sh", "-c", script) }
	}
	for _, tt := range []struct {
		name    string
		harm    func(*testing.T)
		restart string // whether the node has to boot anew: "no", "yes" or "maybe"
	}{
		{"glusterd killed", inGuest("pkill -9 -x glusterd"), "no"},
		{"brick killed", inGuest("pkill -9 -x glusterfsd"), "no"},
		{"self-heal daemon and brick killed", inGuest("pkill -9 -x glusterfs; pkill -9 -x glusterfsd"), "no"},
		{"sshd killed", inGuest("(sleep 0.1; pkill -9 -x sshd) >/dev/null 2>&1 &"), "no"},
		{"agent killed", func(t *testing.T) {
			if err := l.KillAgent(t.Context(), "n2"); err != nil {
				t.Fatal(err)
			}
		}, "no"},
		{"brick root unmounted", inGuest("pkill -9 -x glusterfsd; pkill -9 -x bricklayer; sleep 0.3; umount /bricks/root1"), "no"},
		{"first process of the guest killed", func(t *testing.T) {
			rec, err := loadPIDRecord(l.paths.pid("n2"))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(rec.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}, "yes"},
		{"all of the guest killed", func(t *testing.T) {
			if err := l.kill(t.Context(), n2); err != nil {
				t.Fatal(err)
			}
		}, "yes"},
		{"guest paused", func(t *testing.T) {
			if err := l.Pause("n2"); err != nil {
				t.Fatal(err)
			}
		}, "no"},
		{"tap taken away", func(t *testing.T) {
			if _, err := l.Host(t.Context(), "ip", "link", "set", "tap-n2", "nomaster", "down"); err != nil {
				t.Fatal(err)
			}
		}, "maybe"}, // the guest's driver does not always come back
		{"name of the network namespace lost", func(t *testing.T) {
			if err := unix.Unmount(l.paths.netns(), unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
		}, "no"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := leaders(t, l)
			tt.harm(t)
			now := up(t, l.Config())
			after := leaders(t, now)
			if err := now.Healthy(t.Context()); err != nil {
				t.Error(err)
			}
			if got := before[1] != after[1]; tt.restart != "maybe" && got != (tt.restart == "yes") {
				t.Errorf("n2 restarted: %v, want %s", got, tt.restart)
			}
			if before[0] != after[0] || before[2] != after[2] {
				t.Error("a neighbour was restarted")
			}
		})
	}
}

func TestKilledStaysDead(t *testing.T) {
	l, ctx := Current(), t.Context()
	if err := l.KillGlusterd(ctx, "n3"); err != nil {
		t.Fatal(err)
	}
	list, err := l.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s := list[2]; s.Glusterd != "dead" {
		t.Errorf("glusterd of n3 is %s after kill -9", s.Glusterd)
	}
	if err := l.StartGlusterd(ctx, "n3"); err != nil {
		t.Fatal(err)
	}
	if got := onNode(t, l, "n3", "gluster", "pool", "list"); !strings.Contains(got, "localhost") {
		t.Errorf("glusterd answers %q", got)
	}
	up(t, l.Config())
}

func TestReset(t *testing.T) {
	if testing.Short() {
		t.Skip("it boots nodes for minutes; make test-lab-long runs it")
	}
	l, ctx := up(t, Current().Config()), t.Context()
	if err := l.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	makeVolume(t, l, "gone")
	below, beside := filepath.Join(l.MountDir(), "x"), t.TempDir()
	for _, dir := range []string{below, beside} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Host(ctx, "mount", "-t", "glusterfs", l.nodes[0].Address.String()+":/gone", dir); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Where the lab has a heketi, the raw disks are its own, and are again after it.
	raw := !l.Config().Heketi
	if raw {
		onNode(t, l, "n1", "sh", "-c", "pvcreate -q /dev/ubdb && vgcreate -q vg /dev/ubdb && lvcreate -q -L 1G -T vg/pool && lvcreate -q -V 1G -T vg/pool -n thin")
	}
	before, start := leaders(t, l), time.Now()
	if err := l.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("took %v", took)
	if took > time.Minute { // 7 s where nothing else runs
		t.Errorf("reset took %v, want seconds", took)
	}
	if d := cmp.Diff(before, leaders(t, l)); d != "" {
		t.Errorf("nodes were restarted:\n%s", d)
	}
	if err := l.Healthy(ctx); err != nil {
		t.Error(err)
	}
	if got := onNode(t, l, "n1", "gluster", "--mode=script", "volume", "list"); strings.Contains(got, "gone") {
		t.Errorf("volumes are left: %s", got)
	}
	for _, n := range l.nodes {
		if got := onNode(t, l, n.Name, "sh", "-c", "ls /bricks/root1; blkid /dev/ubdb; dmsetup ls"); strings.Contains(got, "gone") || raw && strings.Contains(got, "LVM2") || strings.Contains(got, "thin") {
			t.Errorf("node %s is not as new: %s", n.Name, got)
		}
	}
	for _, dir := range []string{below, beside} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("%s is still mounted: %v %v", dir, entries, err)
		}
	}
}

func TestPauseResume(t *testing.T) {
	l := Current()
	if err := l.Pause("n2"); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := l.Exec(short, "n2", "true"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("exec on a paused node: %v", err)
	}
	list, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if list[1].Power != "paused" || list[0].Power != "on" {
		t.Errorf("n2 is %s, n1 %s", list[1].Power, list[0].Power)
	}
	if err := l.Resume("n2"); err != nil {
		t.Fatal(err)
	}
	onNode(t, l, "n2", "true")
	up(t, l.Config())
}

func TestPowerAndRestart(t *testing.T) {
	l, ctx := Current(), t.Context()
	onNode(t, l, "n3", "sh", "-c", "echo kept >/root/kept && sync")
	if err := l.PowerOff(ctx, "n3"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Exec(ctx, "n3", "true"); !errors.Is(err, ErrNotUp) {
		t.Errorf("exec without power: %v", err)
	}
	if err := l.Pause("n3"); !errors.Is(err, ErrNotUp) {
		t.Errorf("pause without power: %v", err)
	}
	if err := l.Start(ctx, "n3"); err != nil {
		t.Fatal(err)
	}
	if got := onNode(t, l, "n3", "cat", "/root/kept"); got != "kept\n" {
		t.Errorf("after the power cut the file has %q", got)
	}
	before := leaders(t, l)
	if err := l.Restart(ctx, "n3"); err != nil {
		t.Fatal(err)
	}
	if after := leaders(t, l); after[2] == before[2] || after[0] != before[0] {
		t.Errorf("restart of n3: processes %v, then %v", before, after)
	}
	up(t, l.Config())
}

// A route that lost its rto_min costs each lone packet that is lost 200 ms, and no
// other test would see it.
func TestLostPacketsComeAgainSoon(t *testing.T) {
	l := Current()
	first := l.nodes[0].Address.String()
	there, err := l.Host(t.Context(), "ip", "route", "get", first)
	if err != nil {
		t.Fatal(err)
	}
	for from, route := range map[string]string{"the host": string(there), "n2": onNode(t, l, "n2", "ip", "route", "get", first)} {
		if !strings.Contains(route, "rto_min lock "+rtoMin) {
			t.Errorf("from %s to %s: %q has no rto_min %s", from, first, route, rtoMin)
		}
	}
}

func TestExec(t *testing.T) {
	l, ctx := Current(), t.Context()
	want := "a b|$HOME|it's|\n"
	if got := onNode(t, l, "n1", "printf", "%s|%s|%s|\n", "a b", "$HOME", "it's"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	out, err := l.Exec(ctx, "n1", "sh", "-c", "echo said; echo why >&2; exit 7")
	e, ok := errors.AsType[*ExitError](err)
	if !ok || e.Code != 7 || e.Node != "n1" || string(e.Stderr) != "why\n" || string(out) != "said\n" {
		t.Errorf("out %q, err %v", out, err)
	}
	if _, err := l.Exec(ctx, "n9", "true"); !errors.Is(err, ErrNoNode) {
		t.Errorf("unknown node: %v", err)
	}
	if err := l.WriteFile(ctx, "n1", "/root/sub dir/f", []byte("x\x00y"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := onNode(t, l, "n1", "cat", "/root/sub dir/f"); got != "x\x00y" {
		t.Errorf("file has %q", got)
	}
	_, err = l.Host(ctx, "sh", "-c", "echo why >&2; exit 5")
	if e, ok := errors.AsType[*ExitError](err); !ok || e.Code != 5 || e.Node != "" || string(e.Stderr) != "why\n" {
		t.Errorf("host: %v", err)
	}
}
