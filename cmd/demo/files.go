package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"bricklayer.csi/internal/pause"
)

const mib = 1 << 20

// patience is how long a writer is let try after an expand. Gluster looks at its
// bricks' free space every five seconds where storage.reserve is set.
const patience = 12 * time.Second

// space is what df shows of a mounted file system, in bytes.
type space struct{ total, free int64 }

func df(dir string) (space, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return space{}, fmt.Errorf("df %s: %w", dir, err)
	}
	return space{int64(fs.Blocks) * fs.Bsize, int64(fs.Bavail) * fs.Bsize}, nil
}

// full says whether a writer was told that there is no room.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// reserve gives a file that many bytes of disk without writing them.
func reserve(path string, bytes int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = syscall.Fallocate(int(f.Fd()), 0, 0, bytes)
	if err != nil {
		err = &os.PathError{Op: "fallocate", Path: path, Err: err}
	}
	return errors.Join(err, f.Close())
}

// fill writes more bytes to a file from an offset on, and returns how far it came.
// Each write is answered once it is on the disks: else a few more than there is
// room for would be taken, and refused later.
func fill(ctx context.Context, path string, from, more int64) (int64, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_SYNC, 0o600)
	if err != nil {
		return from, err
	}
	block := bytes.Repeat([]byte("bricklayer lays bricks on bricks "), mib/33+1)[:mib]
	at := from
	for at < from+more && err == nil {
		if err = ctx.Err(); err == nil {
			var n int
			n, err = f.WriteAt(block, at)
			at += int64(n)
		}
	}
	return at, errors.Join(err, f.Close())
}

// fillPatiently is fill for a file system that has just grown.
func fillPatiently(ctx context.Context, path string, from, more int64) (int64, error) {
	patient, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it is still full after %s", patience))
	defer cancel()
	for {
		// A write that goes on may take its time.
		at, err := fill(ctx, path, from, more)
		if !full(err) {
			return at, err
		}
		if waitErr := pause.For(patient, 100*time.Millisecond); waitErr != nil {
			return at, fmt.Errorf("%w: %w", waitErr, err)
		}
	}
}
