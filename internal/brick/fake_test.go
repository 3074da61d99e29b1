package brick

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// fakeQuotas is a quota table for file systems that have none, so that the
// directory logic can be tested anywhere. Projects are an extended attribute;
// usage is what lies below a path that has one; limits are remembered across
// restarts, as a disk would; nothing enforces them.
type fakeQuotas struct {
	top string

	mu     sync.Mutex
	limits map[uint32]Quota
	is     quotaState
}

const projectAttribute = "user.test.project"

func fakeDisk(tb testing.TB) disk {
	tb.Helper()
	f := &fakeQuotas{top: quickDir(tb), limits: map[uint32]Quota{}, is: quotaEnforced}
	return disk{path: f.top, openQuotas: func(*openRoot) quotas { return f }}
}

// quickDir is in memory where that has room and takes attributes: most of the
// time of these tests is fsync.
func quickDir(tb testing.TB) string {
	tb.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &fs); err != nil || int64(fs.Bavail)*fs.Bsize < 1<<30 {
		return tb.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "brick") //nolint:usetesting // TempDir is on a disk
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() { must(tb, os.RemoveAll(dir)) })
	if unix.Setxattr(dir, projectAttribute+".probe", []byte("x"), 0) != nil {
		return tb.TempDir()
	}
	return dir
}

func (f *fakeQuotas) state() (quotaState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.is, nil
}

func (f *fakeQuotas) get(project uint32) (record, error) {
	all, err := f.all(project)
	if err != nil || len(all) == 0 || all[0].project != project {
		return record{project: project}, err
	}
	return all[0], nil
}

func (f *fakeQuotas) all(from uint32) ([]record, error) {
	records, err := f.usage()
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, limit := range f.limits {
		r := records[id]
		r.limit = limit
		records[id] = r
	}
	var all []record
	for _, id := range slices.Sorted(maps.Keys(records)) {
		if r := records[id]; id >= from && (!r.empty() || r.limit != (Quota{})) {
			r.project = id
			all = append(all, r)
		}
	}
	return all, nil
}

// usage walks the disk: an inode counts for the project that its nearest
// marked ancestor, or itself, carries.
func (f *fakeQuotas) usage() (map[uint32]record, error) {
	records := map[uint32]record{}
	projects := map[string]uint32{}
	counted := map[uint64]bool{}
	err := filepath.WalkDir(f.top, func(name string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // changed while we walk
		} else if err != nil {
			return err
		}
		id, own := attribute(name)
		if !own {
			id = projects[filepath.Dir(name)]
		}
		projects[name] = id
		if id == 0 {
			return nil
		}
		var st unix.Stat_t
		if unix.Lstat(name, &st) == nil && !counted[st.Ino] { // not removed meanwhile, nor a second link
			counted[st.Ino] = true
			r := records[id]
			r.inodes++
			r.used += volume.Size(st.Blocks * 512)
			records[id] = r
		}
		return nil
	})
	return records, err
}

func attribute(name string) (id uint32, own bool) {
	var b [4]byte
	n, err := unix.Lgetxattr(name, projectAttribute, b[:])
	return binary.LittleEndian.Uint32(b[:]), err == nil && n == len(b)
}

func (f *fakeQuotas) setLimits(project uint32, q Quota) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limits[project] = q
	return nil
}

func (f *fakeQuotas) project(file *os.File) (uint32, error) {
	var b [4]byte
	if _, err := unix.Fgetxattr(int(file.Fd()), projectAttribute, b[:]); err != nil && !errors.Is(err, unix.ENODATA) {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b[:]), nil
}

func (f *fakeQuotas) setProject(file *os.File, project uint32) error {
	return unix.Fsetxattr(int(file.Fd()), projectAttribute, binary.LittleEndian.AppendUint32(nil, project), 0)
}
