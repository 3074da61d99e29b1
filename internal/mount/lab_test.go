//go:build lab

package mount_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mount/mounttest"
	"bricklayer.csi/internal/mountd"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

const realVolume = "mount-suite"

// newVolume makes a Gluster volume with bare commands, so that these tests need
// nothing of ours but this package.
func newVolume(t *testing.T) (servers []string) {
	t.Helper()
	ctx := t.Context()
	l := lab.Current()
	const dir = "/bricks/root1/" + realVolume
	run := func(node string, argv ...string) {
		t.Helper()
		if out, err := l.Exec(ctx, node, argv...); err != nil {
			t.Fatalf("%s: %v: %v\n%s", node, argv, err, out)
		}
	}
	create := []string{"gluster", "--mode=script", "volume", "create", realVolume, "replica", "3"}
	for _, n := range l.Nodes() {
		run(n.Name, "mkdir", "-p", dir)
		servers = append(servers, n.Address.String())
		create = append(create, n.Address.String()+":"+dir+"/brick")
	}
	first := l.Nodes()[0].Name
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		for _, argv := range [][]string{
			{"gluster", "--mode=script", "volume", "stop", realVolume, "force"},
			{"gluster", "--mode=script", "volume", "delete", realVolume},
		} {
			if out, err := l.Exec(ctx, first, argv...); err != nil {
				t.Errorf("%v: %v\n%s", argv, err, out)
			}
		}
		for _, n := range l.Nodes() {
			if _, err := l.Exec(ctx, n.Name, "rm", "-rf", dir); err != nil {
				t.Error(err)
			}
		}
	})
	run(first, create...)
	run(first, "gluster", "--mode=script", "volume", "start", realVolume)
	return servers
}

func newMounter(t *testing.T) *mount.Linux {
	t.Helper()
	m, err := mount.New(mount.Options{LogDir: t.TempDir(), AnswerWithin: 5 * time.Second, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// newDir returns a directory that a failed test leaves unmounted.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() { _ = exec.CommandContext(ctx, "umount", "-l", dir).Run() })
	return dir
}

// client returns the process that serves the mount at target.
func client(t *testing.T, target string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "pgrep", "-f", "glusterfs.* "+target+"$").Output()
	pid := strings.TrimSpace(string(out))
	if err != nil || strings.Contains(pid, "\n") {
		t.Fatalf("the client of %s: %q, %v", target, pid, err)
	}
	return pid
}

func signal(t *testing.T, name, pid string) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), "kill", "-"+name, pid).Run(); err != nil {
		t.Fatal(err)
	}
}

func killClient(t *testing.T, target string) {
	t.Helper()
	pid := client(t, target)
	signal(t, "KILL", pid)
	waitUntil(t, "the client is gone", func() bool {
		line, err := os.ReadFile("/proc/" + pid + "/cmdline")
		return err != nil || len(line) == 0
	})
}

func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestLinux(t *testing.T) {
	servers := newVolume(t)
	src := mount.Source{Servers: servers, Volume: realVolume}
	m := newMounter(t)
	env := mounttest.Env{
		Mounter: m, Source: src, Missing: mount.Source{Servers: servers, Volume: "no-such-volume"},
		Dir: newDir, KillClient: killClient,
		Hold: func(t *testing.T, target string) func() {
			t.Helper()
			file, err := os.Create(filepath.Join(target, "held"))
			if err != nil {
				t.Fatal(err)
			}
			return func() { _ = file.Close() }
		},
	}
	mounttest.Run(t, env)
	t.Run("over the mount service", func(t *testing.T) {
		env := env
		env.Mounter = overService(t, m)
		mounttest.Run(t, env)
	})
	t.Run("one dead server of three", func(t *testing.T) { testDeadServer(t, m, src) })
	t.Run("no server", func(t *testing.T) { testNoServer(t, m) })
	t.Run("hanging client", func(t *testing.T) { testHangs(t, m, src) })
	t.Run("stopped volume", func(t *testing.T) { testStopped(t, m, src) })
	t.Run("no client is left", func(t *testing.T) {
		waitUntil(t, "no client of "+realVolume, func() bool {
			return exec.CommandContext(t.Context(), "pgrep", "-f", "volfile-id=/"+realVolume+" ").Run() != nil
		})
	})
}

// overService returns a client of a mount service over m.
func overService(t *testing.T, m mount.Mounter) *mountd.Client {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	endpoint := "unix://" + filepath.Join(newDir(t), "mountd.sock")
	server, err := mountd.NewServer(ctx, mountd.Options{
		Endpoint: endpoint, Dirs: []string{os.TempDir()}, Mounts: m, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	client, err := mountd.Dial(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// testDeadServer mounts while the first server is an address that nobody has.
func testDeadServer(t *testing.T, m *mount.Linux, src mount.Source) {
	t.Helper()
	target := newDir(t)
	src.Servers = append([]string{"10.90.0.250"}, src.Servers...)
	began := time.Now()
	if err := m.Glusterfs(t.Context(), src, target, mount.Flags{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("mounted in %v", time.Since(began))
	if err := m.Unmount(t.Context(), target); err != nil {
		t.Error(err)
	}
}

func testNoServer(t *testing.T, m *mount.Linux) {
	t.Helper()
	src := mount.Source{Servers: []string{"10.90.0.250", "10.90.0.251"}, Volume: realVolume}
	err := m.Glusterfs(t.Context(), src, newDir(t), mount.Flags{})
	if !volume.Is(err, volume.Unavailable) || !strings.Contains(err.Error(), net.JoinHostPort("10.90.0.251", "24007")) {
		t.Errorf("got %v; want Unavailable, naming the servers", err)
	}
	t.Log(err)
}

// testHangs stops a client with a signal: nothing may hang, and what was
// mounted can be unmounted.
func testHangs(t *testing.T, m *mount.Linux, src mount.Source) {
	t.Helper()
	target := newDir(t)
	if err := m.Glusterfs(t.Context(), src, target, mount.Flags{}); err != nil {
		t.Fatal(err)
	}
	pid := client(t, target)
	signal(t, "STOP", pid)
	defer signal(t, "CONT", pid)
	waitUntil(t, "the client stands still", func() bool { return standsStill(pid) })
	for range 2 { // the second one joins the first one's question
		_, err := m.Usage(t.Context(), target)
		if !volume.Is(err, volume.Unavailable) || !strings.Contains(err.Error(), mount.ErrSilent.Error()) {
			t.Errorf("got %v; want ErrSilent", err)
		}
	}
	if err := m.Unmount(t.Context(), target); err != nil {
		t.Error(err)
	}
	if err := m.Glusterfs(t.Context(), src, target, mount.Flags{}); err != nil {
		t.Errorf("mount anew beside the hanging client: %v", err)
	}
	if err := m.Unmount(t.Context(), target); err != nil {
		t.Error(err)
	}
}

// standsStill reports whether every thread of a process is stopped.
func standsStill(pid string) bool {
	tasks, err := filepath.Glob("/proc/" + pid + "/task/*/stat")
	for _, task := range tasks {
		text, readErr := os.ReadFile(task)
		_, state, _ := strings.Cut(string(text), ") ")
		if readErr != nil || !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return err == nil && len(tasks) > 0
}

// testStopped mounts a volume that is stopped, and another that stops while it
// is mounted.
func testStopped(t *testing.T, m *mount.Linux, src mount.Source) {
	t.Helper()
	target := newDir(t)
	if err := m.Glusterfs(t.Context(), src, target, mount.Flags{}); err != nil {
		t.Fatal(err)
	}
	node := lab.Current().Nodes()[0].Name
	if _, err := lab.Current().Exec(t.Context(), node, "gluster", "--mode=script", "volume", "stop", realVolume, "force"); err != nil {
		t.Fatal(err)
	}
	_, err := m.Usage(t.Context(), target)
	t.Logf("mounted, then stopped: %v", err)
	if err == nil || strings.Contains(err.Error(), mount.ErrStale.Error()) {
		t.Errorf("got %v; want an error that is not ErrStale: the client lives", err)
	}
	err = m.Glusterfs(t.Context(), src, newDir(t), mount.Flags{})
	t.Logf("mount of a stopped volume: %v", err)
	if err == nil || volume.Is(err, volume.Internal) {
		t.Errorf("got %v (%v); want an error that says what is wrong", err, volume.KindOf(err))
	}
	if _, err := lab.Current().Exec(t.Context(), node, "gluster", "--mode=script", "volume", "start", realVolume); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the mount answers again", func() bool {
		_, err := m.Usage(t.Context(), target)
		return err == nil
	})
	if err := m.Unmount(t.Context(), target); err != nil {
		t.Error(err)
	}
}
