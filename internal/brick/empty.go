package brick

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxDepth is how deep emptying goes before it moves a directory up instead:
// clients can make trees deeper than there are file descriptors.
const maxDepth = 64

// emptier removes everything below one directory.
type emptier struct {
	pace *pace
	// top is the directory; directories that lie too deep are moved into it.
	top   *os.File
	moved int
	// left are things that could not be removed, the first few of them.
	left []error
}

const maxLeft = 5

// emptyDir removes everything below an open directory. What cannot be removed
// does not keep the rest from going; it is in the error.
func emptyDir(ctx context.Context, top *os.File, p *pace) error {
	e := &emptier{pace: p, top: top}
	for {
		moved := e.moved
		e.left = nil
		if err := e.empty(ctx, top, 0); err != nil {
			return err
		}
		if e.moved == moved { // nothing was moved up behind the reader
			return errors.Join(e.left...)
		}
	}
}

// empty removes what is in dir, again and again until a pass removes nothing:
// some file systems skip names while others are being removed.
func (e *emptier) empty(ctx context.Context, dir *os.File, depth int) error {
	for {
		removed, found := 0, 0
		err := eachName(ctx, dir, func(name string) error {
			found++
			if err := e.pace.step(ctx); err != nil {
				return err
			}
			err := e.remove(ctx, dir, name, depth)
			switch {
			case err == nil:
				removed++
			case ctx.Err() != nil:
				return err
			default:
				e.keep(dir, name, err)
			}
			return nil
		})
		if err != nil || found == 0 || removed == 0 {
			return err
		}
	}
}

func (e *emptier) keep(dir *os.File, name string, err error) {
	if len(e.left) < maxLeft {
		e.left = append(e.left, fmt.Errorf("%q in %q: %w", name, dir.Name(), err))
	}
}

// remove removes one name, file or tree.
func (e *emptier) remove(ctx context.Context, dir *os.File, name string, depth int) error {
	err := unlink(dir, name, 0)
	switch {
	case errors.Is(err, unix.EISDIR):
		return e.removeTree(ctx, dir, name, depth)
	case errors.Is(err, unix.EPERM):
		// Immutable or append-only: the file, or the directory that holds it.
		// POSIX also lets EPERM stand for a directory.
		if k, kerr := kind(dir, name); kerr != nil {
			return kerr
		} else if k == unix.S_IFDIR {
			return e.removeTree(ctx, dir, name, depth)
		}
		return e.unlinkProtected(dir, name, err)
	}
	return err
}

func (e *emptier) removeTree(ctx context.Context, dir *os.File, name string, depth int) error {
	err := unlink(dir, name, unix.AT_REMOVEDIR)
	if err == nil || !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EPERM) {
		return err
	}
	if depth >= maxDepth {
		return e.moveUp(dir, name)
	}
	below, err := openBelow(dir, name, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer below.Close()
	if err := e.empty(ctx, below, depth+1); err != nil {
		return err
	}
	err = unlink(dir, name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.EPERM) {
		if err := errors.Join(unprotect(below), unprotect(dir)); err != nil {
			return err
		}
		err = unlink(dir, name, unix.AT_REMOVEDIR)
	}
	return err
}

// moveUp moves a directory to the top under a name that nothing there has.
func (e *emptier) moveUp(dir *os.File, name string) error {
	for {
		e.moved++
		err := unix.Renameat2(int(dir.Fd()), name, int(e.top.Fd()), "deep-"+strconv.Itoa(e.moved), unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
}

func (e *emptier) unlinkProtected(dir *os.File, name string, cause error) error {
	if err := unprotect(dir); err != nil {
		return errors.Join(cause, err)
	}
	if k, err := kind(dir, name); err != nil {
		return err
	} else if k == unix.S_IFREG {
		f, err := openBelow(dir, name, 0)
		if err != nil {
			return errors.Join(cause, err)
		}
		err = unprotect(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return errors.Join(cause, err)
		}
	}
	return unlink(dir, name, 0)
}

// unprotect takes the immutable and the append-only flag away.
func unprotect(f *os.File) error {
	a, err := getAttr(f)
	if err != nil || a.flags&(flagImmutable|flagAppend) == 0 {
		return err
	}
	a.flags &^= flagImmutable | flagAppend
	return setAttr(f, a)
}

func unlink(dir *os.File, name string, flags int) error {
	err := ignoringInterrupts(func() error { return unix.Unlinkat(int(dir.Fd()), name, flags) })
	if errors.Is(err, unix.ENOENT) {
		return nil // somebody else removed it
	}
	return err
}
