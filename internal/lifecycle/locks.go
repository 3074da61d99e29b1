package lifecycle

import (
	"sync"

	"bricklayer.csi/internal/volume"
)

// Locks is a set of volumes that are being worked on. Nobody waits for a lock:
// a second caller is told at once, and comes again.
type Locks struct {
	mu   sync.Mutex
	held map[volume.Handle]struct{}
}

// NewLocks returns an empty set.
func NewLocks() *Locks { return &Locks{held: map[volume.Handle]struct{}{}} }

// TryLock locks h and returns its unlock function, or false where it is locked.
func (l *Locks) TryLock(h volume.Handle) (unlock func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, busy := l.held[h]; busy {
		return nil, false
	}
	l.held[h] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, h)
	}, true
}
