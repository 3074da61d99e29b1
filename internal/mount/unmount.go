package mount

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// cleanWithin is how long a clean unmount may take: the last one of a file
// system first writes back what the kernel still holds, which never ends where
// the client hangs.
const cleanWithin = 10 * time.Second

// Unmount ends the topmost mount at target.
func (l *Linux) Unmount(ctx context.Context, target string) error {
	before, err := l.count(ctx, target)
	if err != nil || before == 0 {
		return err
	}
	err = unmountWithin(ctx, target)
	if err == nil {
		return nil
	}
	if after, countErr := l.count(ctx, target); countErr == nil && after < before {
		return nil // it has left the table; what is left of it ends by itself
	}
	if ctx.Err() != nil {
		return unmountError(volume.Unavailable, target, ctx.Err(), "")
	}
	if !errors.Is(err, unix.EBUSY) && !errors.Is(err, errUnmountHangs) {
		return unmountError(volume.Internal, target, err, "")
	}
	if _, useErr := l.Usage(ctx, target); useErr == nil {
		return unmountError(volume.Busy, target, err, "end the processes that use it: fuser -vm "+target)
	}
	// Nobody can save anything through a dead client, so nothing is lost with it.
	if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
		return unmountError(volume.Internal, target, fmt.Errorf("detach: %w", err), "")
	}
	l.opts.Log.WarnContext(ctx, "detached a mount that no longer answered", "target", target)
	return nil
}

func unmountError(kind volume.Kind, target string, err error, next string) error {
	return &volume.Error{Kind: kind, Op: "unmount", On: target, Err: err, Next: next}
}

func (l *Linux) count(ctx context.Context, target string) (int, error) {
	table, err := l.Mounts(ctx)
	n := 0
	for _, m := range table {
		if m.Target == target {
			n++
		}
	}
	return n, err
}

var errUnmountHangs = errors.New("the clean unmount does not end")

// unmountWithin unmounts cleanly, and stops waiting (the system call itself
// cannot be stopped) after cleanWithin or with ctx.
func unmountWithin(ctx context.Context, target string) error {
	done := make(chan error, 1)
	go func() { done <- unix.Unmount(target, unix.UMOUNT_NOFOLLOW) }()
	limit := time.NewTimer(cleanWithin)
	defer limit.Stop()
	select {
	case err := <-done:
		if errors.Is(err, unix.EINVAL) {
			return nil // somebody else was quicker
		}
		return err
	case <-limit.C:
		return errUnmountHangs
	case <-ctx.Done():
		return ctx.Err()
	}
}
