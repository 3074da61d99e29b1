package mountd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unicode"
	"unicode/utf8"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// guard says where mounts may be.
type guard struct{ dirs []string }

// newGuard checks the directories, and follows the links that lead to them:
// the mount table names real paths.
func newGuard(dirs []string) (guard, error) {
	var g guard
	for _, dir := range dirs {
		if err := checkPath("directory", dir); err != nil {
			return guard{}, err
		}
		resolved, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return guard{}, &volume.Error{
				Kind: volume.Precondition, Op: "serve mounts below " + dir, Err: err,
				Next: "see whether kubelet has another root directory, and whether this container sees it",
			}
		}
		g.dirs = append(g.dirs, resolved)
	}
	if len(g.dirs) == 0 {
		return guard{}, volume.NewFieldError("directories", "", "at least one directory below which volumes may be mounted")
	}
	return g, nil
}

// maxPath is the kernel's PATH_MAX without its final zero.
const maxPath = 4095

func checkPath(field, path string) error {
	bad := !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || len(path) > maxPath ||
		!utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl)
	if bad {
		return volume.NewFieldError(field, path, "an absolute path below /, without .., // or control characters, of at most 4095 bytes")
	}
	return nil
}

// covers reports whether a clean path is below one of the directories.
func (g guard) covers(path string) bool {
	for _, dir := range g.dirs {
		if strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}

// place checks a path that a request names.
func (g guard) place(field, path string) error {
	if err := checkPath(field, path); err != nil {
		return err
	}
	if !g.covers(path) {
		return volume.NewFieldError(field, path, "a path below "+strings.Join(g.dirs, " or "))
	}
	return nil
}

// point checks that a path is a directory to mount at, and that no symbolic
// link on the way leads elsewhere. Where something is mounted there already
// the path is real, because the table has it, and it may be dead: it is not touched.
func point(table []mount.Mount, path string) error {
	if _, mounted := mount.At(table, path); mounted {
		return nil
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err == nil && resolved != path {
		err = fmt.Errorf("it leads to %s", resolved)
	}
	if err == nil {
		var info fs.FileInfo
		if info, err = os.Lstat(path); err == nil && !info.IsDir() {
			err = syscall.ENOTDIR
		}
	}
	if err != nil {
		return &volume.Error{Kind: volume.Precondition, Op: "mount", On: path, Err: err, Next: "make it a directory, reached without symbolic links"}
	}
	return nil
}

// shown refuses a path at which no Gluster volume is mounted.
func shown(op string, table []mount.Mount, path string) error {
	m, mounted := mount.At(table, path)
	switch {
	case !mounted:
		return &volume.Error{Kind: volume.Precondition, Op: op, On: path, Err: errors.New("nothing is mounted there")}
	case m.Volume() == "":
		return &volume.Error{Kind: volume.Precondition, Op: op, On: path, Err: fmt.Errorf("it is no Gluster volume but %s", m.Source)}
	}
	return nil
}

// targets lets one call at a time work on a target. A call whose caller has
// gone may still be tidying up when the next one comes.
type targets struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

func (t *targets) lock(ctx context.Context, target string) (unlock func(), err error) {
	for {
		t.mu.Lock()
		busy, held := t.held[target]
		if !held {
			if t.held == nil {
				t.held = map[string]chan struct{}{}
			}
			done := make(chan struct{})
			t.held[target] = done
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.held, target)
				t.mu.Unlock()
				close(done)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, &volume.Error{Kind: volume.Busy, Op: "mount or unmount", On: target, Err: errors.New("another call works there"), Next: "repeat the call later"}
		}
	}
}
