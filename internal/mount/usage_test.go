package mount

import (
	"context"
	"math"
	"testing"
	"time"

	"bricklayer.csi/internal/volume"
)

func newLinux(t *testing.T) *Linux {
	t.Helper()
	l, err := New(Options{LogDir: t.TempDir(), AnswerWithin: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestUsage(t *testing.T) {
	l := newLinux(t)
	if u, err := l.Usage(t.Context(), t.TempDir()); err != nil || u.Total <= 0 || u.Available > u.Total {
		t.Errorf("got %+v, %v", u, err)
	}
	if _, err := l.Usage(t.Context(), t.TempDir()+"/none"); !volume.Is(err, volume.NotFound) {
		t.Errorf("got %v; want NotFound", err)
	}
}

// TestOneQuestionAtATime has a question hang, and looks that the next caller joins
// it, in bounded time, and that a new mount is asked anew.
func TestOneQuestionAtATime(t *testing.T) {
	l, dir := newLinux(t), t.TempDir()
	hanging := &probe{done: make(chan struct{})}
	l.probe.calls = map[string]*probe{dir: hanging}
	for range 2 {
		if _, err := l.Usage(t.Context(), dir); !volume.Is(err, volume.Unavailable) {
			t.Errorf("got %v; want Unavailable", err)
		}
	}
	l.probe.forget(dir)
	if _, err := l.Usage(t.Context(), dir); err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	l.probe.calls[dir] = hanging
	if _, err := l.Usage(ended, dir); !volume.Is(err, volume.Unavailable) {
		t.Errorf("got %v; want Unavailable", err)
	}
}

func TestTimes(t *testing.T) {
	if times(math.MaxUint64, 4096) != math.MaxInt64 || times(3, 5) != 15 || times(0, 1) != 0 {
		t.Error("wrong")
	}
}

func TestOptions(t *testing.T) {
	for dir, want := range map[string]bool{"/var/log/bricklayer": true, "": false, "log": false, "/a/../b": false} {
		if _, err := New(Options{LogDir: dir}); (err == nil) != want {
			t.Errorf("%q: %v", dir, err)
		}
	}
}
