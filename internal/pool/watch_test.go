package pool

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"bricklayer.csi/api/v1alpha1"
)

// open returns a Watcher and a channel with the names of the pools each time
// that it tells of them.
func open(t *testing.T, path string) (*Watcher, <-chan string) {
	t.Helper()
	w, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 16)
	t.Cleanup(w.Subscribe(func(pools []v1alpha1.StoragePool) { told <- poolNames(pools) }))
	return w, told
}

// run starts w and ends it with the test.
func run(t *testing.T, w *Watcher) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func expect(t *testing.T, told <-chan string, want string) {
	t.Helper()
	select {
	case got := <-told:
		if got != want {
			t.Fatalf("told of pools %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("never told of pools %q", want)
	}
}

func TestOpenRefusesBadPools(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pool.yaml")
	write(t, file, "kind: Pod\n")
	if _, err := Open(file, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("opened, want an error")
	}
}

func TestWatchFileReplacedByRename(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pool.yaml")
	write(t, file, good("old"))
	w, told := open(t, file)
	expect(t, told, "old")
	run(t, w)
	write(t, file+".new", good("new"))
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	expect(t, told, "new")
	if w.Err() != nil {
		t.Errorf("Err: %v", w.Err())
	}
}

func TestWatchDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), good("a"))
	w, told := open(t, dir)
	expect(t, told, "a")
	run(t, w)
	write(t, filepath.Join(dir, "b.yaml"), good("b"))
	expect(t, told, "a b")
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	expect(t, told, "b")
}

// TestWatchConfigMap swaps files as kubelet does: the visible names are links
// through ..data, and ..data is a link that is renamed over.
func TestWatchConfigMap(t *testing.T) {
	for _, watchFile := range []bool{false, true} {
		dir := t.TempDir()
		publish := func(version, text string) {
			t.Helper()
			data := filepath.Join(dir, "..v"+version)
			if err := os.Mkdir(data, 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(data, "pool.yaml"), text)
			tmp := filepath.Join(dir, "..data_tmp")
			if err := os.Symlink(filepath.Base(data), tmp); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(tmp, filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		publish("1", good("one"))
		path := filepath.Join(dir, "pool.yaml")
		if err := os.Symlink(filepath.Join("..data", "pool.yaml"), path); err != nil {
			t.Fatal(err)
		}
		if !watchFile {
			path = dir
		}
		w, told := open(t, path)
		expect(t, told, "one")
		run(t, w)
		publish("2", good("two"))
		expect(t, told, "two")
	}
}

func TestReloadKeepsPoolsWhenFilesAreBad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pool.yaml")
	write(t, file, good("a"))
	var log logLines
	w, err := Open(file, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, strings.Replace(good("a"), "n1", "N1", 1))
	for range 2 {
		if err := w.Reload(); err == nil || !strings.Contains(err.Error(), "spec.nodes[0].name") {
			t.Fatalf("Reload: %v, want the field that is wrong", err)
		}
	}
	if got := poolNames(w.Pools()); got != "a" || w.Err() == nil {
		t.Errorf("pools %q, Err %v; want the old pools and an error", got, w.Err())
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("the same faults were logged %d times, want once:\n%s", n, log.String())
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := w.Reload(); err == nil || poolNames(w.Pools()) != "a" {
		t.Errorf("a file that went away: %v and pools %q, want an error and the old pools", err, poolNames(w.Pools()))
	}
	write(t, file, good("b"))
	if err := w.Reload(); err != nil || w.Err() != nil || poolNames(w.Pools()) != "b" {
		t.Errorf("mended: %v, %v, pools %q", err, w.Err(), poolNames(w.Pools()))
	}
}

func TestSubscribersAreToldOfChangesOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pool.yaml")
	write(t, file, good("a"))
	w, err := Open(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	cancel := w.Subscribe(func(pools []v1alpha1.StoragePool) { told = append(told, poolNames(pools)) })
	reload := func() {
		if err := w.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	reload()
	write(t, file, "# a comment changes nothing\n"+good("a"))
	reload()
	write(t, file, good("b"))
	reload()
	cancel()
	write(t, file, good("c"))
	reload()
	if got := strings.Join(told, ", "); got != "a, b" {
		t.Errorf("told %q, want a, b", got)
	}
}

// TestFollowWaitsUntilChangesSettle sends many events in a row: the files are
// read once, after the last of them, and again after a quiet minute.
//
//nolint:forbidigo // the time of synctest does not really pass
func TestFollowWaitsUntilChangesSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "pool.yaml")
		write(t, file, good("a"))
		w, _ := open(t, file)
		events, errs := make(chan fsnotify.Event), make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var readings atomic.Int32
		go w.follow(ctx, events, errs, func() { readings.Add(1) })
		synctest.Wait()
		if readings.Load() != 1 {
			t.Fatalf("%d readings at the start, want 1", readings.Load())
		}
		for range 10 {
			time.Sleep(settle / 2)
			events <- fsnotify.Event{Name: file, Op: fsnotify.Write}
		}
		synctest.Wait()
		if readings.Load() != 1 {
			t.Errorf("%d readings amid changes, want 1", readings.Load())
		}
		time.Sleep(settle)
		synctest.Wait()
		if readings.Load() != 2 {
			t.Errorf("%d readings after the changes, want 2", readings.Load())
		}
		events <- fsnotify.Event{Name: file, Op: fsnotify.Chmod}
		time.Sleep(settle)
		synctest.Wait()
		if readings.Load() != 2 {
			t.Errorf("a change of mode was taken for a change of contents")
		}
		errs <- fs.ErrInvalid
		time.Sleep(settle)
		synctest.Wait()
		if readings.Load() != 3 {
			t.Errorf("%d readings after lost events, want 3", readings.Load())
		}
		time.Sleep(reread)
		synctest.Wait()
		if readings.Load() != 4 {
			t.Errorf("%d readings after a quiet minute, want 4", readings.Load())
		}
	})
}

// logLines is a buffer that a logger may write to while a test reads it.
type logLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
