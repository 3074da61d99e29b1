package mount

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// ends remembers how clients ended that left their mounts behind, so that
// whoever asks about such a mount is told more than that it is dead. It knows
// only of clients that this process started.
type ends struct {
	mu       sync.Mutex
	byDevice map[string]end
}

// end is how and when a client ended.
type end struct {
	result string
	at     time.Time
}

func (e *ends) put(device, result string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byDevice == nil {
		e.byDevice = map[string]end{}
	}
	e.byDevice[device] = end{result: result, at: time.Now()}
}

// forget drops what is known of a device: the kernel gave its number to another mount.
func (e *ends) forget(device string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.byDevice, device)
}

// explain returns ErrStale, with what is known of how the client ended.
func (e *ends) explain(device string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, found := e.byDevice[device]
	if !found {
		return ErrStale
	}
	return fmt.Errorf("%w; it ended at %s: %s", ErrStale, known.at.UTC().Format(time.RFC3339), known.result)
}

// ended notes that a client has ended. One whose mount was unmounted before is
// done; one that leaves its mount has failed the pods that use it.
func (l *Linux) ended(ctx context.Context, target string, pid int, result string) {
	log := l.opts.Log.With("target", target, "pid", pid, "result", result)
	table, err := l.Mounts(ctx)
	if m, mounted := At(table, target); err == nil && mounted && m.Type == fuseType && !clientRuns(table, target) {
		l.ends.put(m.Device, result)
		log.WarnContext(ctx, "a Gluster client has ended and left its mount behind")
		return
	}
	log.InfoContext(ctx, "a Gluster client has ended")
}
