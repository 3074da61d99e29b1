package lab

import (
	"context"
	"fmt"
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
	halt := func(ctx context.Context, n Node) error {
		_, err := l.guest(ctx, n.Name, "reset-stop")
		return err
	}
	if err := l.each(ctx, halt); err != nil {
		return err
	}
	if err := l.each(ctx, l.ensureNode); err != nil {
		return err
	}
	return l.formPool(ctx)
}
