package brick

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// What is below a brick directory was named by clients and is walked one
// element at a time, each opened relative to its parent's descriptor: never
// through a symbolic link, never onto another mount, at any depth, whatever the
// name's bytes. os.Root guards the way down to the brick; inside it would follow
// a link that stays within the root, which may lead into another volume.

// namesAtOnce is how many names are read from a directory at a time: a huge
// directory is never in memory as a whole.
const namesAtOnce = 512

// openBelow opens a directory or regular file that is named in parent, or is
// reached from there by a relative path without links.
func openBelow(parent *os.File, name string, flags int) (*os.File, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if flags&unix.O_DIRECTORY == 0 {
		flags |= unix.O_NONBLOCK // in case it is a FIFO by now
	}
	fd := -1
	err := ignoringInterrupts(func() (err error) {
		fd, err = unix.Openat2(int(parent.Fd()), name, &unix.OpenHow{
			Flags:   uint64(flags),
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
		})
		return err
	})
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.6
		fd, err = openOnDevice(parent, name, flags)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openOnDevice opens the name if it is on its parent's file system. It does not
// see a bind mount of the same file system, nor a link in the middle of a path:
// only root can put one above a brick.
func openOnDevice(parent *os.File, name string, flags int) (int, error) {
	var above, below unix.Stat_t
	if err := unix.Fstat(int(parent.Fd()), &above); err != nil {
		return -1, err
	}
	fd, err := unix.Openat(int(parent.Fd()), name, flags, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Fstat(fd, &below)
	if err == nil && above.Dev != below.Dev {
		err = unix.EXDEV
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// eachName calls f for every name in an open directory, reading it from its
// beginning. It stops at the first error, and when ctx ends.
func eachName(ctx context.Context, dir *os.File, f func(name string) error) error {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for {
		names, err := dir.Readdirnames(namesAtOnce)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(name); err != nil {
				return err
			}
		}
	}
}

// kind returns the type bits of what is named in parent, without following it.
func kind(parent *os.File, name string) (uint32, error) {
	var st unix.Stat_t
	err := ignoringInterrupts(func() error {
		return unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return 0, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return st.Mode & unix.S_IFMT, nil
}
