package mount

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bricklayer.csi/internal/volume"
)

// Mounter makes, ends and looks at mounts. It is safe for concurrent use, but
// two callers must not work on one target at the same time.
//
// Targets are absolute paths without symbolic links; directories must exist.
// Errors carry a volume.Kind. Every method ends soon after its context does.
type Mounter interface {
	// Glusterfs mounts a Gluster volume at target and returns once it answers.
	// Exists where target shows a Gluster volume already, even a dead one.
	// On an error nothing is left mounted at target by this call, and no client runs.
	Glusterfs(ctx context.Context, src Source, target string, flags Flags) error

	// Bind shows at target what is mounted at source, read-only where asked. On
	// an error nothing is left mounted at target by this call.
	Bind(ctx context.Context, source, target string, readOnly bool) error

	// Unmount ends the topmost mount at target. No mount there is no error. A
	// mount whose client is gone or does not answer is detached at once; one
	// that is alive and in use is left alone, with Busy.
	Unmount(ctx context.Context, target string) error

	// Mounts returns the mounts of this process's mount namespace, oldest first.
	Mounts(ctx context.Context) ([]Mount, error)

	// Usage returns the space of the mount at target. Where the mount does not
	// answer the error wraps ErrStale, ErrDisconnected or ErrSilent.
	Usage(ctx context.Context, target string) (Usage, error)

	// Ready returns nil where this node can mount Gluster volumes, else what is missing.
	Ready(ctx context.Context) error
}

// How a mount can fail to answer.
var (
	// ErrStale is a mount whose client process has ended: it never comes back
	// and must be replaced.
	ErrStale = errors.New("the client process of this mount is gone (transport endpoint is not connected)")
	// ErrDisconnected is a mount whose client runs but reaches no brick: it
	// comes back by itself when the bricks do.
	ErrDisconnected = errors.New("the client of this mount runs but reaches no brick (transport endpoint is not connected)")
	// ErrSilent is a mount that did not answer in time.
	ErrSilent = errors.New("the mount did not answer in time")
)

// Source is a Gluster volume and where its volume file is served.
type Source struct {
	// Servers are hosts that run glusterd: the first that answers is asked, the
	// others stand in for it.
	Servers []string
	// Volume is the Gluster volume's name.
	Volume string
}

// Usage is the space of a mounted file system.
type Usage struct {
	// Total, Free and Available are bytes; Available is what ordinary users can have.
	Total, Free, Available int64
	// Files and FilesFree are inodes.
	Files, FilesFree int64
}

// fuseType is the file system type of a Gluster mount.
const fuseType = "fuse.glusterfs"

// Mount is one line of the kernel's mount table.
type Mount struct {
	// Target is where it is mounted; Root is which directory of the file system.
	Target, Root string
	// Type is the file system type; Source is what was mounted.
	Type, Source string
	// Device identifies the file system: mounts of one client share it.
	Device string
	// ReadOnly is a property of this mount; ReadOnlyClient of the file system.
	ReadOnly, ReadOnlyClient bool
}

// Volume returns the name of the Gluster volume mounted here, or "" where it is
// none. It works for bind mounts too, and for mounts whose client is gone.
func (m Mount) Volume() string {
	if m.Type != fuseType {
		return ""
	}
	_, path, ok := strings.Cut(m.Source, ":/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(path, "/")
	return name
}

// AlreadyMounted is what Glusterfs returns where target shows a volume.
func AlreadyMounted(src Source, there Mount) error {
	return &volume.Error{
		Kind: volume.Exists, Op: "mount volume " + src.Volume, On: there.Target,
		Err: fmt.Errorf("%s is mounted there", there.Source), Next: "unmount it first",
	}
}

// At returns the topmost mount at target.
func At(table []Mount, target string) (Mount, bool) {
	for _, m := range slices.Backward(table) {
		if m.Target == target {
			return m, true
		}
	}
	return Mount{}, false
}
