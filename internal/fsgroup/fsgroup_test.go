package fsgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// tree is a directory as a volume, with files of several kinds.
func tree(t *testing.T) Volume {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root gives files to any group")
	}
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(dir+"/a/b/c", 0o700),
		os.WriteFile(dir+"/file", nil, 0o600),
		os.WriteFile(dir+"/a/b/private", nil, 0o400),
		os.WriteFile(dir+"/a/tool", nil, 0o755),
		os.Chmod(dir+"/a/tool", fs.ModeSetuid|0o755),
		os.Symlink("/etc/passwd", dir+"/a/link"),
		os.Symlink("nowhere", dir+"/a/dangling"),
		os.Symlink("/etc", dir+"/a/b/out"),
		syscall.Mkfifo(dir+"/a/pipe", 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return Volume{Name: "volume v", Dir: dir, Device: device(t, dir)}
}

func device(t *testing.T, dir string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
}

func newGroups(t *testing.T) *Groups {
	t.Helper()
	return New(slog.New(slog.NewTextHandler(t.Output(), nil)))
}

func owner(t *testing.T, path string) (gid int, mode fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("no stat")
	}
	return int(st.Gid), info.Mode()
}

func TestEverythingIsGivenToTheGroup(t *testing.T) {
	v := tree(t)
	g := newGroups(t)
	for _, gid := range []int{1000, 2000} {
		if err := g.Apply(t.Context(), v, gid); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]fs.FileMode{
			"": fs.ModeDir | fs.ModeSetgid | 0o770, "a": fs.ModeDir | fs.ModeSetgid | 0o770, "a/b/c": fs.ModeDir | fs.ModeSetgid | 0o770,
			"file": 0o660, "a/b/private": 0o660, "a/tool": fs.ModeSetuid | 0o775, "a/pipe": fs.ModeNamedPipe | 0o660,
			"a/link": fs.ModeSymlink | 0o777, "a/dangling": fs.ModeSymlink | 0o777, "a/b/out": fs.ModeSymlink | 0o777,
		} {
			got, mode := owner(t, filepath.Join(v.Dir, name))
			if got != gid || mode&want != want {
				t.Errorf("%q: group %d, mode %v; want %d, %v", name, got, mode, gid, want)
			}
		}
	}
	if gid, _ := owner(t, "/etc/passwd"); gid != 0 {
		t.Fatal("it left the volume by a link")
	}
	// The root says that all is done, so that the next pod costs one look.
	if err := os.Chown(v.Dir+"/file", -1, 7); err != nil {
		t.Fatal(err)
	}
	if err := g.Apply(t.Context(), v, 2000); err != nil {
		t.Fatal(err)
	}
	if gid, _ := owner(t, v.Dir+"/file"); gid != 7 {
		t.Error("the whole volume was walked although its root was right")
	}
}

func TestAnotherFileSystemIsLeftAlone(t *testing.T) {
	v := tree(t)
	v.Device = "0:999"
	err := newGroups(t).Apply(t.Context(), v, 1000)
	if !volume.Is(err, volume.Precondition) || !strings.Contains(err.Error(), "HostToContainer") {
		t.Errorf("got %v; want Precondition, and what to do", err)
	}
	if gid, _ := owner(t, v.Dir+"/file"); gid == 1000 {
		t.Error("what lies below the missing mount was changed")
	}
	v.Dir += "/none"
	if err := newGroups(t).Apply(t.Context(), v, 1000); err == nil {
		t.Error("a missing directory is no error")
	}
}

// hold adds a change that runs until release is called or it is stopped.
func (g *Groups) hold(name string, gid int) (release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	j := &job{gid: gid, cancel: cancel, walk: &walk{gid: gid}, done: make(chan struct{})}
	j.walk.seen.Store(42)
	g.jobs[name] = j
	go func() {
		<-ctx.Done()
		g.mu.Lock()
		delete(g.jobs, name)
		g.mu.Unlock()
		close(j.done)
	}()
	return cancel
}

func TestALongChangeGoesOn(t *testing.T) {
	g := newGroups(t)
	release := g.hold("v", 1000)
	g.wait = 10 * time.Millisecond
	err := g.Apply(t.Context(), Volume{Name: "v"}, 1000)
	if !volume.Is(err, volume.Busy) || !strings.Contains(err.Error(), "42 files") {
		t.Errorf("got %v; want Busy, and how far it is", err)
	}
	if err := g.Apply(t.Context(), Volume{Name: "v"}, 2000); !volume.Is(err, volume.Busy) || !strings.Contains(err.Error(), "to group 1000") {
		t.Errorf("another group: got %v; want Busy", err)
	}
	g.wait = time.Minute
	release()
	if err := g.Apply(t.Context(), Volume{Name: "v"}, 1000); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("joined at its end: %v", err)
	}
	g.hold("w", 1000)
	g.Stop(t.Context(), "w")
	if len(g.jobs) != 0 {
		t.Error("stopped, but it runs")
	}
	g.Stop(t.Context(), "none")
}

// TestCutShort stops a change in the middle: the root must not say that all is done.
func TestCutShort(t *testing.T) {
	v := tree(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := &walk{gid: 1000, device: v.Device, log: slog.New(slog.DiscardHandler)}
	if err := w.run(ctx, v.Dir); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if gid, _ := owner(t, v.Dir); gid == 1000 {
		t.Error("the root belongs to the group already")
	}
	if err := newGroups(t).Apply(t.Context(), v, 1000); err != nil {
		t.Error(err)
	}
}

// BenchmarkLook measures what a volume costs whose group is right.
func BenchmarkLook(b *testing.B) {
	dir := b.TempDir()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(dir, fs.ModeSetgid|0o770); err != nil {
		b.Fatal(err)
	}
	w := &walk{gid: int(st.Gid), device: fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), log: slog.New(slog.DiscardHandler)}
	for b.Loop() {
		if err := w.run(b.Context(), dir); err != nil {
			b.Fatal(err)
		}
	}
}
