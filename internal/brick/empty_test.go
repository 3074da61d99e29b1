package brick

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// hostile fills a brick with what clients and administrators can leave there,
// and returns a directory outside that must survive.
func hostile(t *testing.T, brick string) (victim string) {
	t.Helper()
	victim = t.TempDir()
	writeFile(t, 10, victim, "precious")
	for _, name := range []string{
		"new\nline", "\xff\xfe", " ", "-rf", "..a", "a\\b", "*", strings.Repeat("n", 255), "\x01", "deep-1",
	} {
		writeFile(t, 10, brick, name)
	}
	dir := filepath.Join(brick, "dir")
	must(t, os.Mkdir(dir, 0o000))
	writeFile(t, 10, dir, "file")
	must(t, os.Link(filepath.Join(dir, "file"), filepath.Join(brick, "hard")))
	must(t, os.Symlink(victim, filepath.Join(brick, "to-directory")))
	must(t, os.Symlink(filepath.Join(victim, "precious"), filepath.Join(brick, "to-file")))
	must(t, os.Symlink("../../../volumes/other/brick", filepath.Join(brick, "to-neighbour")))
	must(t, os.Symlink("loop", filepath.Join(brick, "loop")))
	must(t, unix.Mkfifo(filepath.Join(brick, "fifo"), 0o600))
	must(t, unix.Mknod(filepath.Join(brick, "socket"), unix.S_IFSOCK|0o600, 0))
	deep(t, brick, 3*maxDepth)
	wide := filepath.Join(brick, "wide")
	must(t, os.Mkdir(wide, 0o755))
	for i := range 3*namesAtOnce + 1 {
		writeFile(t, 0, wide, fmt.Sprint(i))
	}
	return victim
}

// deep makes a chain of directories, each with a file beside the next.
func deep(t *testing.T, top string, levels int) {
	t.Helper()
	at, err := os.OpenRoot(top)
	must(t, err)
	for range levels {
		must(t, at.Mkdir("deep", 0o755))
		below, err := at.OpenRoot("deep")
		must(t, err)
		must(t, below.WriteFile("file", nil, 0o600))
		must(t, at.Close())
		at = below
	}
	must(t, at.Close())
}

func must(t reporter, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTrashEmptiesWhatClientsLeave(t *testing.T) {
	r := newRig(t)
	other := r.mustMake(request("other", 10*volume.MiB))
	writeFile(t, 10, other.Path, "precious")
	b := r.mustMake(request("v1", 10*volume.MiB))
	victim := hostile(t, b.Path)
	r.mustRemove("v1", ToTrash)
	if s := r.state(); s.Trash != 1 || s.Bricks != 1 || s.Committed < 20*volume.MiB {
		t.Errorf("state before it is emptied: %+v", s)
	}
	r.mustEmpty()
	if s := r.state(); s.Trash != 0 || s.Committed != 10*volume.MiB {
		t.Errorf("state after: %+v", s)
	}
	for _, path := range []string{filepath.Join(victim, "precious"), filepath.Join(other.Path, "precious")} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("a link was followed: %v", err)
		}
	}
	r.check()
}

func TestTrashEmptiesProtectedFiles(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	dir := filepath.Join(b.Path, "dir")
	must(t, os.MkdirAll(filepath.Join(dir, "below", "empty"), 0o755))
	writeFile(t, 10, b.Path, "append")
	writeFile(t, 10, dir, "immutable")
	writeFile(t, 10, dir, "free")
	for path, flag := range map[string]uint32{
		filepath.Join(b.Path, "append"): flagAppend, filepath.Join(dir, "immutable"): flagImmutable,
		filepath.Join(dir, "below", "empty"): flagImmutable, filepath.Join(dir, "below"): flagAppend, dir: flagImmutable,
	} {
		f, err := os.Open(path)
		must(t, err)
		a, err := getAttr(f)
		if err == nil {
			a.flags |= flag
			err = setAttr(f, a)
		}
		must(t, f.Close())
		if err != nil {
			t.Skipf("this file system has no such flags, or this user may not set them: %v", err)
		}
	}
	r.mustRemove("v1", ToTrash)
	r.mustEmpty()
	r.checkEmpty()
}

// TestTrashLeavesMountsAlone: something is mounted in a removed brick.
func TestTrashLeavesMountsAlone(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	foreign := filepath.Join(r.disk.path, "foreign") // the same file system: only the mount tells
	must(t, os.Mkdir(foreign, 0o755))
	writeFile(t, 10, foreign, "precious")
	at := filepath.Join(b.Path, "dir")
	must(t, os.Mkdir(at, 0o755))
	writeFile(t, 10, b.Path, "file")
	if err := unix.Mount(foreign, at, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("this user cannot mount: %v", err)
	}
	var inTrash string
	defer func() { _ = unix.Unmount(inTrash, unix.MNT_DETACH) }()
	r.mustRemove("v1", ToTrash)
	inTrash = filepath.Join(r.disk.path, trashDir, r.names(trashDir)[0], brickDir, "dir")
	if err := r.host.EmptyTrash(t.Context()); err == nil {
		t.Error("nothing was said of the mount")
	}
	if _, err := os.Stat(filepath.Join(foreign, "precious")); err != nil {
		t.Errorf("emptying went into a mount: %v", err)
	}
	if s := r.state(); s.Trash != 1 || s.Committed < 10*volume.MiB {
		t.Errorf("state: %+v", s)
	}
	must(t, unix.Unmount(inTrash, 0))
	must(t, os.RemoveAll(foreign))
	r.mustEmpty()
	r.checkEmpty()
}

func TestTrashIsEmptiedAtABoundedRate(t *testing.T) {
	r := newRig(t, func(o *Options) { o.TrashEntriesPerSecond = 100 })
	b := r.mustMake(request("v1", 10*volume.MiB))
	for i := range 30 {
		writeFile(t, 0, b.Path, fmt.Sprint(i))
	}
	r.mustRemove("v1", ToTrash)
	began := time.Now()
	r.mustEmpty()
	if took := time.Since(began); took < 250*time.Millisecond || took > 5*time.Second {
		t.Errorf("30 files at 100 a second took %v", took)
	}
}

func TestRunEmptiesInTheBackground(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	writeFile(t, 10, b.Path, "file")
	r.mustRemove("v1", ToTrash)
	r.restart()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.host.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	soon(t, "the old trash is emptied", func() bool { return r.state().Trash == 0 })
	r.mustMake(request("v2", 10*volume.MiB))
	r.mustRemove("v2", ToTrash)
	soon(t, "the new trash is emptied", func() bool { return r.state().Trash == 0 })
	r.checkEmpty()
}

func TestEmptyingStopsWithItsContextAndGoesOn(t *testing.T) {
	r := newRig(t, func(o *Options) { o.TrashEntriesPerSecond = 10 })
	b := r.mustMake(request("v1", 10*volume.MiB))
	for i := range 50 {
		writeFile(t, 0, b.Path, fmt.Sprint(i))
	}
	r.mustRemove("v1", ToTrash)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.host.EmptyTrash(ctx); err == nil {
		t.Fatal("it did not stop")
	}
	r.check()
	r.options.TrashEntriesPerSecond = MaxTrashEntriesPerSec
	r.restart()
	r.mustEmpty()
	r.checkEmpty()
}
