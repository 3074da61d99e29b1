package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"bricklayer.csi/internal/fsgroup"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

var (
	errBusy     = errors.New("another operation on this volume is in progress on this node")
	errForeign  = errors.New("something else is mounted there")
	errReadOnly = errors.New("it is mounted there already, with another read-only setting")
)

// stage makes sure that the volume is mounted at its staging path and answers.
func (n *Node) stage(ctx context.Context, s staging) error {
	const op = "stage volume"
	m, mounted, err := n.at(ctx, s.path)
	if err != nil {
		return err
	}
	if mounted {
		alive, err := n.keep(ctx, m, s.handle, op)
		if err != nil {
			return err
		}
		if alive && m.ReadOnlyClient != s.access.flags.ReadOnly {
			return &volume.Error{Kind: volume.Exists, Op: op, On: place(s.handle, s.path), Err: errReadOnly}
		}
		if alive {
			return nil
		}
	}
	if _, err := makeDir(s.path); err != nil {
		return err
	}
	return n.mounts.Glusterfs(ctx, s.source, s.path, s.access.flags)
}

// keep reports whether a mount found at a path can stay: it is the volume's and
// answers. A stale one is ended, so that it can be made anew. Every other
// fault is returned: a client that only lost its bricks comes back by itself,
// and pods hold it.
func (n *Node) keep(ctx context.Context, m mount.Mount, h volume.Handle, op string) (alive bool, err error) {
	if m.Volume() != h.Name {
		return false, &volume.Error{Kind: volume.Exists, Op: op, On: place(h, m.Target), Err: fmt.Errorf("%w: %s", errForeign, m.Source)}
	}
	_, err = n.mounts.Usage(ctx, m.Target)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, mount.ErrStale) {
		return false, err
	}
	n.log.WarnContext(ctx, "replacing a stale mount", "volume", h.String(), "path", m.Target)
	return false, n.unmount(ctx, h, m.Target)
}

// publish makes sure that the staged volume is shown at the target path.
func (n *Node) publish(ctx context.Context, p publishing) error {
	const op = "publish volume"
	if err := n.requireStaged(ctx, p); err != nil {
		return err
	}
	// A stale staging mount is made anew here: kubelet does not stage again
	// while other pods on the node have the volume.
	if err := n.stage(ctx, p.staging); err != nil {
		return err
	}
	table, err := n.mounts.Mounts(ctx)
	if err != nil {
		return err
	}
	if p.access.once() {
		if other, shown := shownElsewhere(table, p); shown {
			return &volume.Error{
				Kind: volume.Precondition, Op: op, On: place(p.handle, p.target),
				Err:  fmt.Errorf("access mode %v allows one path on a node, and the volume is published at %s", p.access.mode, other),
				Next: "end the pod that uses it, or use an access mode for several pods",
			}
		}
	}
	if done, err := n.published(ctx, table, p); done || err != nil {
		return err
	}
	if err := n.giveToGroup(ctx, table, p); err != nil {
		return err
	}
	made, err := makeDir(p.target)
	if err != nil {
		return err
	}
	if err := n.mounts.Bind(ctx, p.path, p.target, p.readOnly); err != nil {
		if made {
			err = errors.Join(err, removeDir(p.target))
		}
		return err
	}
	return nil
}

// giveToGroup gives the volume to the group that the pod wants, before the pod
// sees it. It is not done at the staging path, which knows the first pod's group
// only, and not for a pod that has its mount already: two pods with different
// groups would take the volume from each other for ever.
func (n *Node) giveToGroup(ctx context.Context, table []mount.Mount, p publishing) error {
	if p.access.group == noGroup || p.readOnly {
		return nil
	}
	staged, _ := mount.At(table, p.path)
	return n.groups.Apply(ctx, fsgroup.Volume{Name: p.handle.String(), Dir: p.path, Device: staged.Device}, p.access.group)
}

func (n *Node) requireStaged(ctx context.Context, p publishing) error {
	m, mounted, err := n.at(ctx, p.path)
	if err != nil {
		return err
	}
	if !mounted || m.Volume() != p.handle.Name {
		return &volume.Error{
			Kind: volume.Precondition, Op: "publish volume", On: place(p.handle, p.path),
			Err: errors.New("the volume is not staged there"), Next: "call NodeStageVolume first",
		}
	}
	return nil
}

// published reports whether the target already shows the volume as asked. A
// mount of a client that is no longer the staging path's is ended.
func (n *Node) published(ctx context.Context, table []mount.Mount, p publishing) (bool, error) {
	m, mounted := mount.At(table, p.target)
	if !mounted {
		return false, nil
	}
	staged, _ := mount.At(table, p.path)
	switch {
	case m.Volume() != p.handle.Name:
		return false, &volume.Error{Kind: volume.Exists, Op: "publish volume", On: place(p.handle, p.target), Err: fmt.Errorf("%w: %s", errForeign, m.Source)}
	case m.Device != staged.Device:
		n.log.WarnContext(ctx, "replacing a mount of a former client", "volume", p.handle.String(), "path", p.target)
		return false, n.unmount(ctx, p.handle, p.target)
	case m.ReadOnly != p.readOnly:
		return false, &volume.Error{Kind: volume.Exists, Op: "publish volume", On: place(p.handle, p.target), Err: errReadOnly}
	}
	return true, nil
}

// shownElsewhere returns another path at which this client's volume is
// published. Only the volume's root counts: kubelet's mounts of subpaths come and
// go with the pod whose mount of the root is counted.
func shownElsewhere(table []mount.Mount, p publishing) (string, bool) {
	staged, _ := mount.At(table, p.path)
	i := slices.IndexFunc(table, func(m mount.Mount) bool {
		return m.Device == staged.Device && m.Root == staged.Root && m.Target != p.path && m.Target != p.target
	})
	if i < 0 {
		return "", false
	}
	return table[i].Target, true
}

// maxStacked bounds how many mounts at one path are ended: more than one is
// already somebody's mistake.
const maxStacked = 16

// unmount ends the volume's mounts at a path, and no others.
func (n *Node) unmount(ctx context.Context, h volume.Handle, path string) error {
	for ended := range maxStacked {
		m, mounted, err := n.at(ctx, path)
		if err != nil || !mounted {
			return err
		}
		if m.Volume() != h.Name {
			if ended > 0 {
				return nil // ours is gone from there; what it covered is not ours
			}
			return &volume.Error{
				Kind: volume.Precondition, Op: "unmount volume", On: place(h, path), Err: fmt.Errorf("%w: %s", errForeign, m.Source),
				Next: "see what it is: findmnt " + path,
			}
		}
		if err := n.mounts.Unmount(ctx, path); err != nil {
			return err
		}
	}
	return &volume.Error{Kind: volume.Internal, Op: "unmount volume", On: place(h, path), Err: fmt.Errorf("more than %d mounts on top of each other", maxStacked)}
}

// usage asks the volume's mount at a path for its space.
func (n *Node) usage(ctx context.Context, id, path string) (mount.Usage, error) {
	if err := firstError(given("volume_id", id), given("volume_path", path)); err != nil {
		return mount.Usage{}, err
	}
	h, err := volume.ParseHandle(id)
	if err != nil {
		return mount.Usage{}, err
	}
	if err := checkPath("volume_path", path); err != nil {
		// The spec has csi-sanity ask for "some/path", and NotFound for an answer.
		return mount.Usage{}, &volume.Error{Kind: volume.NotFound, Op: "find mount", On: h.String(), Err: err}
	}
	if path, err = resolve(path); err != nil {
		return mount.Usage{}, err
	}
	m, mounted, err := n.at(ctx, path)
	if err != nil {
		return mount.Usage{}, err
	}
	if !mounted || m.Volume() != h.Name {
		return mount.Usage{}, &volume.Error{Kind: volume.NotFound, Op: "find mount", On: place(h, path), Err: errors.New("the volume is not mounted there")}
	}
	return n.mounts.Usage(ctx, path)
}

func (n *Node) at(ctx context.Context, path string) (mount.Mount, bool, error) {
	table, err := n.mounts.Mounts(ctx)
	m, mounted := mount.At(table, path)
	return m, mounted, err
}

func place(h volume.Handle, path string) string { return "volume " + h.String() + " at " + path }

// makeDir makes a mount point where there is none; its parent is the
// orchestrator's to make. It is called only where nothing is mounted at path.
func makeDir(path string) (made bool, err error) {
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.IsDir():
		return false, nil
	case err == nil:
		return false, &volume.Error{Kind: volume.Precondition, Op: "make mount point", On: path, Err: errors.New("it exists and is no directory"), Next: "remove it"}
	case !isMissing(err):
		return false, &volume.Error{Kind: volume.Internal, Op: "make mount point", On: path, Err: err}
	}
	if err := os.Mkdir(path, 0o750); err != nil {
		return false, &volume.Error{Kind: volume.Precondition, Op: "make mount point", On: path, Err: err, Next: "make its parent directory"}
	}
	return true, nil
}

// removeDir removes an empty mount point. Files that somebody put there while
// nothing was mounted are never removed.
func removeDir(path string) error {
	err := os.Remove(path)
	if err == nil || isMissing(err) {
		return nil
	}
	kind := volume.Internal
	if errors.Is(err, syscall.ENOTEMPTY) {
		kind = volume.Precondition
	}
	return &volume.Error{Kind: kind, Op: "remove mount point", On: path, Err: err, Next: "see what is in it"}
}

func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
