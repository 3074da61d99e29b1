package brick

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"golang.org/x/sys/unix"
)

const markVersion = 1

// markFile is what mark.json says: the mark, and what was decided for this
// brick alone.
type markFile struct {
	Version int `json:"version"`
	Mark
	// Quota is what was last set, so that one that was lost can be put back.
	Quota Quota `json:"quota"`
	// Enforce false is a brick that is meant to have no quota.
	Enforce bool `json:"enforce"`
}

// readMark reads the mark in a directory such as volumes/NAME. One that has not
// changed since it was read costs one system call: an agent is asked for all of
// them often.
func (o *openRoot) readMark(dir string) (markFile, error) {
	name := path.Join(dir, markName)
	seen, err := o.stampOf(name)
	if err != nil {
		return markFile{}, err
	}
	if m, ok := o.marks.get(dir, seen); ok {
		return m, nil
	}
	var m markFile
	if err := readJSON(o.dir, name, &m); err != nil {
		return markFile{}, err
	}
	if m.Version != markVersion {
		return markFile{}, fmt.Errorf("%s is of version %d, this program knows version %d", name, m.Version, markVersion)
	}
	o.marks.put(dir, seen, m)
	return m, nil
}

// replaceMark is writeMark, and durable when it returns.
func (o *openRoot) replaceMark(dir string, m markFile) error {
	return errors.Join(o.writeMark(dir, m), syncDir(o.dir, dir))
}

// stamp tells whether a mark is still the one that was read. A mark is only
// ever replaced by another file, so the inode number alone would nearly do.
type stamp struct {
	inode          uint64
	size           int64
	modified, made unix.Timespec
}

func (o *openRoot) stampOf(name string) (stamp, error) {
	var st unix.Stat_t
	err := ignoringInterrupts(func() error {
		return unix.Fstatat(int(o.self.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return stamp{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return stamp{inode: st.Ino, size: st.Size, modified: st.Mtim, made: st.Ctim}, nil
}

// markCache keeps the marks that were read.
type markCache struct {
	mu    sync.Mutex
	marks map[string]stampedMark
}

type stampedMark struct {
	stamp
	markFile
}

func (c *markCache) get(dir string, seen stamp) (markFile, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.marks[dir]
	return m.markFile, ok && m.stamp == seen
}

// peek returns the mark as it was last read or written. Nobody but us changes
// one while we hold the root, so that will do where nothing hangs on it.
func (c *markCache) peek(dir string) (markFile, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.marks[dir]
	return m.markFile, ok
}

func (c *markCache) put(dir string, seen stamp, m markFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.marks == nil {
		c.marks = map[string]stampedMark{}
	}
	c.marks[dir] = stampedMark{seen, m}
}

// forget drops the mark of a directory that is changed or moved away.
func (c *markCache) forget(dir string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.marks, dir)
}

// writeMark writes the mark in a directory such as volumes/NAME. The caller
// makes the directory durable.
func (o *openRoot) writeMark(dir string, m markFile) error {
	m.Version = markVersion
	below, err := o.dir.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer below.Close()
	o.marks.forget(dir)
	return writeJSON(below, markName, m)
}

// missing reports whether an error says that there is no such file or brick.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotThere)
}
