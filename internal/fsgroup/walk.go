package fsgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// atOnce is how many files are changed at the same time: each costs round
	// trips to the bricks, and storage nodes have other things to do.
	atOnce = 4
	// batch is how many names of a directory are held at once.
	batch = 1000
)

// What kubelet gives the group, too.
const (
	fileBits = 0o660
	dirBits  = fs.ModeSetgid | 0o770
)

var errElsewhere = errors.New("the volume is not mounted there in the view of this process")

// walk gives a tree to a group.
type walk struct {
	gid    int
	device string
	log    *slog.Logger

	seen, changed, refused atomic.Int64
}

// run gives what is below dir to the group and dir itself at the end, so that
// dir belongs to the group only when all does. Nothing is done where it does.
func (w *walk) run(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Lstat(".")
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)) != w.device {
		return fmt.Errorf("%w: %s", errElsewhere, dir)
	}
	if int(st.Gid) == w.gid && info.Mode()&dirBits == dirBits {
		return nil
	}
	w.log.InfoContext(ctx, "giving a volume to a group", "path", dir, "before", st.Gid)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	if err := errors.Join(w.children(ctx, group, root), group.Wait()); err != nil {
		return err
	}
	if err := w.entry(root, ".", info); err != nil {
		return err
	}
	w.log.InfoContext(ctx, "gave a volume to a group", "path", dir,
		"files", w.seen.Load(), "changed", w.changed.Load(), "refused", w.refused.Load())
	return nil
}

// children changes what is in a directory.
func (w *walk) children(ctx context.Context, group *errgroup.Group, dir *os.Root) error {
	list, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer list.Close()
	for {
		entries, err := list.ReadDir(batch)
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.child(ctx, group, dir, e.Name()); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (w *walk) child(ctx context.Context, group *errgroup.Group, dir *os.Root, name string) error {
	info, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a pod removed it
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		if err := w.subdir(ctx, group, dir, name); err != nil {
			return err
		}
	}
	w.seen.Add(1)
	return w.tolerate(ctx, name, w.entry(dir, name, info))
}

// subdir changes what is in a subdirectory, beside us where there is a place.
func (w *walk) subdir(ctx context.Context, group *errgroup.Group, dir *os.Root, name string) error {
	sub, err := dir.OpenRoot(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // a pod removed or replaced it
	}
	if err != nil {
		return w.tolerate(ctx, name, err)
	}
	do := func() error {
		defer sub.Close()
		return w.children(ctx, group, sub)
	}
	if group.TryGo(do) {
		return nil
	}
	return do()
}

// entry changes one file. What is right already costs nothing.
func (w *walk) entry(dir *os.Root, name string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("stat of %q has no group", name)
	}
	bits := fs.FileMode(fileBits)
	if info.IsDir() {
		bits = dirBits
	}
	right := int(st.Gid) == w.gid
	if !right {
		if err := dir.Lchown(name, -1, w.gid); err != nil {
			return err
		}
		w.changed.Add(1)
	}
	// A link has no mode of its own. A new group can take away setuid and setgid.
	const kept = fs.ModeSetuid | fs.ModeSetgid
	mode := info.Mode()
	if mode&fs.ModeSymlink != 0 || mode&bits == bits && (right || mode&kept == 0) {
		return nil
	}
	return dir.Chmod(name, (mode|bits)&(fs.ModePerm|kept|fs.ModeSticky))
}

// tolerate passes over a file that may not be changed (immutable, say), as
// kubelet does: the pod may never need it. It passes over one that is gone, too.
func (w *walk) tolerate(ctx context.Context, name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		if w.refused.Add(1) == 1 {
			w.log.WarnContext(ctx, "a file cannot be given to the group; others like it are counted only", "name", name, "error", err)
		}
		return nil
	}
	return err
}
