package brick

import (
	"fmt"
	"os"

	"bricklayer.csi/internal/volume"
)

// FirstProject is the least project ID that is given to a brick directory. What
// lies below it is left to administrators, who number their projects by hand.
const FirstProject uint32 = 1 << 20

// quotas is one file system's table of project quotas, and the project IDs of
// its directories. Tests put another one in its place where there is no XFS.
type quotas interface {
	// state says what the file system does about project quotas.
	state() (quotaState, error)
	// get returns a project's record, with nothing in it where there is none.
	get(project uint32) (record, error)
	// all returns the records from a project ID up, in that order. A project
	// with neither limit nor usage may be left out.
	all(from uint32) ([]record, error)
	// setLimits sets both hard limits; zero is no limit. Bytes are whole blocks.
	setLimits(project uint32, q Quota) error
	// project returns an open file's or directory's project ID, 0 where it has none.
	project(f *os.File) (uint32, error)
	// setProject sets it; what is then made in a directory inherits it.
	setProject(f *os.File, project uint32) error
}

// quotaState is what a file system does about project quotas.
type quotaState uint8

const (
	quotaOff quotaState = iota
	quotaAccounted
	quotaEnforced
)

func (s quotaState) String() string {
	return [...]string{"off", "accounted but not enforced", "enforced"}[s]
}

// record is what a file system knows of one project.
type record struct {
	project uint32
	limit   Quota
	used    volume.Size
	inodes  int64
}

// bounded reports whether the project cannot grow beyond some number of bytes.
func (r record) bounded() bool { return r.limit.Bytes > 0 }

// empty reports whether the project holds nothing on disk.
func (r record) empty() bool { return r.used == 0 && r.inodes == 0 }

// checkQuota refuses what no file system could hold.
func checkQuota(q Quota) error {
	if q.Bytes < 0 || q.Bytes > volume.MaxSize {
		return volume.NewFieldError("quota.bytes", fmt.Sprint(int64(q.Bytes)), fmt.Sprintf("0 to %d", int64(volume.MaxSize)))
	}
	if q.Inodes < 0 {
		return volume.NewFieldError("quota.inodes", fmt.Sprint(q.Inodes), "0 (no bound) or more")
	}
	return nil
}
