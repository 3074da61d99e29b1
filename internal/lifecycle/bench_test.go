package lifecycle

import (
	"fmt"
	"sync/atomic"
	"testing"

	"bricklayer.csi/internal/volume"
)

// BenchmarkLocks locks one volume after the other, with a thousand locked beside
// it, and many volumes at once.
func BenchmarkLocks(b *testing.B) {
	handle := func(n int) volume.Handle {
		return volume.Handle{Backend: volume.Plain, Pool: "gold", Name: fmt.Sprintf("pvc-%d", n)}
	}
	lock := func(b *testing.B, l *Locks, h volume.Handle) {
		b.Helper()
		unlock, ok := l.TryLock(h)
		if !ok {
			b.Error("somebody else has the lock")
			return
		}
		unlock()
	}
	b.Run("others=0", func(b *testing.B) {
		l, h := NewLocks(), handle(0)
		b.ReportAllocs()
		for b.Loop() {
			lock(b, l, h)
		}
	})
	b.Run("others=1000", func(b *testing.B) {
		l, h := NewLocks(), handle(0)
		for n := range 1000 {
			l.TryLock(handle(n + 1))
		}
		b.ReportAllocs()
		for b.Loop() {
			lock(b, l, h)
		}
	})
	b.Run("contended", func(b *testing.B) {
		l := NewLocks()
		var workers atomic.Int64
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			h := handle(int(workers.Add(1)))
			for pb.Next() {
				lock(b, l, h)
			}
		})
	})
}
