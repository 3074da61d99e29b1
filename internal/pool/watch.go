package pool

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"bricklayer.csi/api/v1alpha1"
)

const (
	// settle is how long the files must be left alone before they are read: an
	// editor or a ConfigMap update makes several changes in a row.
	settle = 200 * time.Millisecond
	// reread is how often the files are read without being told: not every
	// file system reports changes, and a watched directory can be replaced.
	reread = time.Minute
)

// Watcher holds the pools of a file or directory and follows its changes. A
// change for the worse leaves the pools as they were. It is safe for
// concurrent use.
type Watcher struct {
	path string
	log  *slog.Logger

	reloading sync.Mutex // held while files are read and subscribers told, so that both see one order

	mu          sync.Mutex
	pools       []v1alpha1.StoragePool
	err         error
	subscribers map[*subscriber]struct{}
}

type subscriber struct {
	tell func([]v1alpha1.StoragePool)
}

// Open loads the pools of a file or directory. Pools that are bad at the start
// are an error; Run then follows their changes.
func Open(path string, log *slog.Logger) (*Watcher, error) {
	pools, err := Load(path)
	if err != nil {
		return nil, err
	}
	return &Watcher{path: path, log: log, pools: pools, subscribers: map[*subscriber]struct{}{}}, nil
}

// Pools returns the pools now in force, sorted by name. They are shared: do
// not change them.
func (w *Watcher) Pools() []v1alpha1.StoragePool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pools
}

// Err returns why the files as they are now are not in force, or nil where they are.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Subscribe calls tell with the pools now in force, and again with all pools
// whenever some of them changed, one call at a time. It returns a function that
// ends that; tell may still be running when it returns.
func (w *Watcher) Subscribe(tell func([]v1alpha1.StoragePool)) (cancel func()) {
	w.reloading.Lock()
	defer w.reloading.Unlock()
	s := &subscriber{tell: tell}
	w.mu.Lock()
	w.subscribers[s] = struct{}{}
	pools := w.pools
	w.mu.Unlock()
	tell(pools)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.subscribers, s)
	}
}

// Reload reads the files now and returns Err.
func (w *Watcher) Reload() error {
	w.reloading.Lock()
	defer w.reloading.Unlock()
	pools, err := Load(w.path)
	w.mu.Lock()
	said := w.err != nil && err != nil && w.err.Error() == err.Error()
	w.err = err
	changed := err == nil && !reflect.DeepEqual(pools, w.pools)
	if changed {
		w.pools = pools
	}
	tell := make([]*subscriber, 0, len(w.subscribers))
	for s := range w.subscribers {
		tell = append(tell, s)
	}
	w.mu.Unlock()

	switch {
	case err != nil && !said:
		w.log.Error("pool files are not as they must be; the pools stay as they were", "path", w.path, "error", err)
	case changed:
		w.log.Info("pools changed", "path", w.path, "pools", names(pools))
		for _, s := range tell {
			s.tell(pools)
		}
	}
	return err
}

// Run follows the files until ctx ends, then returns nil. Where the file system
// cannot be watched the files are still read every minute.
func (w *Watcher) Run(ctx context.Context) error {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch pools in %s: %w", w.path, err)
	}
	defer notify.Close()
	w.follow(ctx, notify.Events, notify.Errors, func() {
		// Adding a directory that is watched already changes nothing; one that
		// was replaced is watched anew.
		if err := notify.Add(w.directory()); err != nil {
			w.log.WarnContext(ctx, "changes of the pool files are noticed late", "path", w.path, "interval", reread, "error", err)
		}
	})
	return nil
}

// directory returns what must be watched: a file is replaced by renaming, which
// only its directory reports. So is the ..data link of a mounted ConfigMap.
func (w *Watcher) directory() string {
	if info, err := os.Stat(w.path); err == nil && info.IsDir() {
		return w.path
	}
	return filepath.Dir(w.path)
}

// follow reads the files once changes have settled, and every reread. Before
// each reading it calls watch, so that no change falls between the two.
func (w *Watcher) follow(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error, watch func()) {
	timer := time.NewTimer(0) // once at the start: a change since Open was not seen
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if e.Op != fsnotify.Chmod {
				timer.Reset(settle)
			}
		case err := <-errs:
			w.log.WarnContext(ctx, "events about the pool files were lost", "path", w.path, "error", err)
			timer.Reset(settle)
		case <-timer.C:
			watch()
			_ = w.Reload() // kept in Err and logged
			timer.Reset(reread)
		}
	}
}

func names(pools []v1alpha1.StoragePool) []string {
	all := make([]string, len(pools))
	for i := range pools {
		all[i] = pools[i].Name
	}
	return all
}
