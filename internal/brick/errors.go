package brick

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"bricklayer.csi/internal/volume"
)

// fail returns an error about this root, and about a volume on it where one is named.
func (r *root) fail(kind volume.Kind, op, volumeName string, err error, next string) error {
	on := fmt.Sprintf("brick root %s (%s)", r.config.Name, r.config.Path)
	if volumeName != "" {
		on = "volume " + volumeName + ", " + on
	}
	return &volume.Error{Kind: kind, Op: op, On: on, Err: err, Next: next}
}

// failIO is fail for an error of the operating system, which says the kind. An
// error that has a kind already keeps it and is returned as it is.
func (r *root) failIO(op, volumeName string, err error) error {
	var classified *volume.Error
	if err == nil || errors.As(err, &classified) {
		return err
	}
	kind, next := classify(err)
	return r.fail(kind, op, volumeName, err, next)
}

// classify says what an operating system's error means for the caller.
func classify(err error) (kind volume.Kind, next string) {
	switch {
	case errors.Is(err, errOutOfTime):
		return volume.Unavailable, "call again"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return volume.Exhausted, "free space on the brick root's file system"
	case errors.Is(err, syscall.EROFS):
		return volume.Precondition, "the file system is mounted read-only: see the kernel log, then remount it read-write"
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.EUCLEAN), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return volume.Precondition, "the disk or its file system failed: see the kernel log"
	case errors.Is(err, fs.ErrPermission):
		return volume.Precondition, "run the agent as root"
	case errors.Is(err, os.ErrClosed):
		return volume.Unavailable, "the brick root was remounted meanwhile: call again"
	}
	return volume.Internal, ""
}

var errOutOfTime = errors.New("the caller's time ran out before its turn came")
