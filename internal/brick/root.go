package brick

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// What lies below a root, beside its marker. Each is reachable by root only:
// what modes and owners clients gave to files inside means nothing here.
const (
	// volumesDir/NAME/brick is a brick directory, volumesDir/NAME/mark.json its
	// mark. What lies here is complete.
	volumesDir = "volumes"
	// stagingDir/NAME becomes volumesDir/NAME by a rename once it is complete.
	stagingDir = "staging"
	// trashDir/NAME.pPROJECT (NAME.rRANDOM without one) was volumesDir/NAME.
	trashDir = "trash"
	// archiveDir/NAME-TIME was volumesDir/NAME.
	archiveDir = "archive"

	brickDir = "brick"
	markName = "mark.json"
)

var layoutDirs = []string{volumesDir, stagingDir, trashDir, archiveDir}

// root is one configured brick root, mounted now or not.
type root struct {
	host   *Host
	config RootConfig
	// turn is held by whoever changes the root.
	turn chan struct{}
	// repairing is held by whoever sets projects on a whole tree.
	repairing chan struct{}
	// asked is held while the root's state is being read.
	asked chan struct{}
	// removed says that something came into the trash.
	removed chan struct{}

	mu   sync.Mutex // guards open
	open *openRoot
}

// openRoot is a root that was found mounted and ours, with the lock held.
type openRoot struct {
	*root
	dir *os.Root
	// self is the directory itself, for its lock and its file system's quotas.
	self *os.File
	// top is the mount point where that is locked too, or nil.
	top      *os.File
	identity fs.FileInfo
	device   uint64
	marker   Marker
	mount    mount
	quotas   quotas
	// recovered is true once what a crash left was cleared; guarded by turn.
	recovered bool
	marks     markCache
}

func newRoot(h *Host, c RootConfig) *root {
	return &root{
		host: h, config: c,
		turn: make(chan struct{}, 1), repairing: make(chan struct{}, 1),
		asked: make(chan struct{}, 1), removed: make(chan struct{}, 1),
	}
}

// take waits for a turn, and no longer than ctx.
func take(ctx context.Context, turn chan struct{}) (done func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errOutOfTime, err)
	}
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errOutOfTime, context.Cause(ctx))
	}
}

// begin waits for the root's turn and returns it usable, with what a crash
// left cleared. The caller calls done when it has changed what it wants.
func (r *root) begin(ctx context.Context, op string) (o *openRoot, done func(), err error) {
	done, err = take(ctx, r.turn)
	if err != nil {
		return nil, nil, r.failIO(op, "", err)
	}
	o, err = r.use(op)
	if err == nil && !o.recovered {
		err = o.failIO(op, "", o.recover())
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return o, done, nil
}

// use returns the root if it is mounted and ours at this moment. It is opened
// anew where it has been mounted again since the last time.
func (r *root) use(op string) (*openRoot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open != nil {
		now, err := os.Stat(r.config.Path)
		if err == nil && os.SameFile(now, r.open.identity) {
			marker, err := readMarker(r.open.dir, r.open.device)
			if err == nil && marker.same(r.open.marker) {
				return r.open, nil
			}
		}
		r.host.log.Warn("brick root is no longer what it was; opening it again",
			"root", r.config.Name, "path", r.config.Path, "id", r.open.marker.ID)
		_ = r.open.release()
		r.open = nil
	}
	o, err := r.openNow(op)
	if err != nil {
		return nil, err
	}
	r.open = o
	r.host.log.Info("brick root opened", "root", r.config.Name, "path", r.config.Path, "id", o.marker.ID)
	return o, nil
}

func (r *root) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		return nil
	}
	err := r.open.release()
	r.open = nil
	return err
}

func (o *openRoot) release() error {
	err := errors.Join(o.self.Close(), o.dir.Close())
	if o.top != nil {
		err = errors.Join(err, o.top.Close())
	}
	return err
}

// openNow opens, checks and locks the root.
func (r *root) openNow(op string) (*openRoot, error) {
	o, err := openAny(r.config.Path)
	if err != nil {
		return nil, r.fail(volume.Precondition, op, "", err, "is the disk mounted? If it is new, run `bricklayer agent init`")
	}
	o.root = r
	if err := o.check(op); err != nil {
		return nil, errors.Join(err, o.release())
	}
	o.quotas = r.host.options.openQuotas(o)
	return o, nil
}

// openAny opens a directory and finds out what is mounted there.
func openAny(path string) (*openRoot, error) {
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	o := &openRoot{dir: dir}
	o.self, err = dir.Open(".")
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	if err := o.locate(path); err != nil {
		return nil, errors.Join(err, o.release())
	}
	return o, nil
}

func (o *openRoot) locate(path string) (err error) {
	if o.identity, err = o.self.Stat(); err != nil {
		return err
	}
	o.device = deviceOf(o.identity)
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	o.mount, _, err = findMount(mounts, resolved, o.device)
	return err
}

// isMountPoint reports whether the root's path is where its file system is mounted.
func (o *openRoot) isMountPoint(path string) bool {
	resolved, err := filepath.EvalSymlinks(path)
	return err == nil && resolved == o.mount.point
}

// check reads the marker, compares it, and takes the lock.
func (o *openRoot) check(op string) error {
	const initialise = "is the disk mounted? If it is new, run `bricklayer agent init`"
	var err error
	o.marker, err = readMarker(o.dir, o.device)
	switch {
	case err != nil:
		return o.fail(volume.Precondition, op, "", err, initialise)
	case o.marker.Pool != o.host.options.Pool || o.marker.Root != o.config.Name:
		return o.fail(volume.Precondition, op, "",
			fmt.Errorf("its marker says pool %q, root %q; the configuration says pool %q, root %q",
				o.marker.Pool, o.marker.Root, o.host.options.Pool, o.config.Name),
			"mount the right disk there, or correct the configuration")
	case o.marker.MountPoint && !o.isMountPoint(o.config.Path):
		return o.fail(volume.Precondition, op, "",
			fmt.Errorf("it is not a mount point, though its marker says that it was made as one; %s is mounted at %s", o.mount.source, o.mount.point),
			initialise)
	}
	if err := lock(o.self); err != nil {
		return o.fail(volume.Precondition, op, "", err, "stop the other agent that serves this root")
	}
	if err := o.lockFileSystem(); err != nil {
		return o.fail(volume.Precondition, op, "", err,
			"give each brick root a file system of its own: project IDs and space are counted for a file system")
	}
	return nil
}

// lockFileSystem takes the mount point as well where the root lies below it, so
// that no two roots give out the same project IDs.
func (o *openRoot) lockFileSystem() (err error) {
	if !o.marker.Quota || o.mount.fileSystem != "xfs" || o.isMountPoint(o.config.Path) {
		return nil
	}
	if o.top, err = os.Open(o.mount.point); err != nil {
		return err
	}
	if err := lock(o.top); err != nil {
		return fmt.Errorf("another brick root lies on the file system at %s: %w", o.mount.point, err)
	}
	return nil
}

// lock takes the root for this process alone. The lock is the directory's own,
// so it goes with the disk wherever that is mounted, and ends with the process.
func lock(dir *os.File) error {
	err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errors.New("the lock is held already")
	}
	return err
}

// path returns the absolute path of something below the root, as others see it.
func (r *root) path(elements ...string) string {
	return filepath.Join(append([]string{r.config.Path}, elements...)...)
}
