package mount

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// Options say how a Linux mounter works. Only LogDir is required.
type Options struct {
	// LogDir is where clients write their logs, one file a volume.
	LogDir string
	// Client is the glusterfs program.
	Client string
	// MountWithin bounds the wait for a new mount to answer.
	MountWithin time.Duration
	// AnswerWithin is how long a mount may take to answer before it counts as silent.
	AnswerWithin time.Duration
	// Port is glusterd's port.
	Port int
	Log  *slog.Logger
}

// The defaults of Options.
const (
	DefaultClient       = "glusterfs"
	DefaultMountWithin  = 60 * time.Second
	DefaultAnswerWithin = 10 * time.Second
	DefaultPort         = 24007
)

// Linux is the real Mounter. Make it with New.
type Linux struct {
	opts  Options
	probe probes
	ends  ends
}

// New returns a mounter of this host; it changes nothing yet.
func New(o Options) (*Linux, error) {
	if !filepath.IsAbs(o.LogDir) || filepath.Clean(o.LogDir) != o.LogDir {
		return nil, volume.NewFieldError("log directory", o.LogDir, "a clean absolute path")
	}
	if o.Client == "" {
		o.Client = DefaultClient
	}
	if o.MountWithin <= 0 {
		o.MountWithin = DefaultMountWithin
	}
	if o.AnswerWithin <= 0 {
		o.AnswerWithin = DefaultAnswerWithin
	}
	if o.Port == 0 {
		o.Port = DefaultPort
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Linux{opts: o}, nil
}

// Ready returns nil where this host has FUSE and the client.
func (l *Linux) Ready(context.Context) error {
	var missing []error
	if _, err := os.Stat("/dev/fuse"); err != nil {
		missing = append(missing, fmt.Errorf("%w (load the kernel's module fuse)", err))
	}
	if _, err := exec.LookPath(l.opts.Client); err != nil {
		missing = append(missing, fmt.Errorf("%w (install the package glusterfs-client)", err))
	}
	if len(missing) > 0 {
		return &volume.Error{Kind: volume.Precondition, Op: "get ready to mount Gluster volumes", Err: errors.Join(missing...)}
	}
	return nil
}

// Mounts reads the kernel's mount table.
func (l *Linux) Mounts(context.Context) ([]Mount, error) {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, &volume.Error{Kind: volume.Internal, Op: "read the mount table", Err: err}
	}
	table := make([]Mount, len(infos))
	for i, info := range infos {
		table[i] = Mount{
			Target: info.Mountpoint, Root: info.Root, Type: info.FSType, Source: info.Source,
			Device:         fmt.Sprintf("%d:%d", info.Major, info.Minor),
			ReadOnly:       hasOption(info.Options, "ro"),
			ReadOnlyClient: hasOption(info.VFSOptions, "ro"),
		}
	}
	return table, nil
}

func hasOption(options, name string) bool {
	return slices.Contains(strings.Split(options, ","), name)
}

// Bind shows source at target.
func (l *Linux) Bind(ctx context.Context, source, target string, readOnly bool) error {
	if err := ctx.Err(); err != nil {
		return bindError(source, target, err)
	}
	err := bindAtOnce(source, target, readOnly)
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.12
		err = bindInSteps(source, target, readOnly)
	}
	if err != nil {
		return bindError(source, target, err)
	}
	return nil
}

func bindError(source, target string, err error) error {
	kind := volume.Internal
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, unix.ENOTCONN):
		kind = volume.Unavailable
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		kind = volume.Precondition
	}
	return &volume.Error{Kind: kind, Op: "bind " + source, On: target, Err: err}
}

// bindAtOnce makes the mount apart and read-only before anybody can see it, so
// that no crash leaves a writable mount where a read-only one was asked for.
func bindAtOnce(source, target string, readOnly bool) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer unix.Close(tree) //nolint:errcheck // a detached mount goes with its descriptor
	if readOnly {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return fmt.Errorf("mount_setattr: %w", err)
		}
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

func bindInSteps(source, target string, readOnly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount --bind: %w", err)
	}
	if !readOnly {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return errors.Join(fmt.Errorf("mount -o remount,bind,ro: %w", err), unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	}
	return nil
}
