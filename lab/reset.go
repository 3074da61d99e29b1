package lab

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Reset takes every volume, brick and client mount away and leaves empty pools:
// peers stay joined, disks are as new. It needs no reboot.
func (l *Lab) Reset(ctx context.Context) error {
	unlock, err := lockFile(ctx, l.paths.lock(), func() { l.say("another command works on lab %s: waiting for it", l.config.Name) })
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.reset(ctx); err != nil {
		return fmt.Errorf("reset lab %s: %w", l.config.Name, err)
	}
	l.say("lab %s is empty", l.config.Name)
	return nil
}

func (l *Lab) reset(ctx context.Context) error {
	if err := endClients(ctx, l.paths, l.netns, l.progress); err != nil {
		return err
	}
	if err := l.emptyHeketi(ctx); err != nil {
		return err
	}
	halt := func(ctx context.Context, n Node) error {
		if _, err := l.guest(ctx, n.Name, "reset-stop"); err != nil {
			return err
		}
		return l.emptyDisks(n)
	}
	if err := each(ctx, l.nodes, halt); err != nil {
		return err
	}
	if err := l.makeReady(ctx, l.nodes); err != nil {
		return err
	}
	return l.ensureHeketi(ctx)
}

// emptyDisks gives the space of a node's disks back to the host. The guest has none
// of them open, so it sees zeros from its next open on.
func (l *Lab) emptyDisks(n Node) error {
	for _, d := range l.config.Disks {
		f, err := os.OpenFile(l.paths.disk(n.Name, d.Name), os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("node %s: disk %s: %w", n.Name, d.Name, err)
		}
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(d.SizeGiB)<<30)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("node %s: empty disk %s: %w", n.Name, d.Name, err)
		}
	}
	return nil
}
