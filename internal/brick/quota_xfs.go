package brick

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// The kernel's interface, from linux/quota.h, linux/dqblk_xfs.h and linux/fs.h.
const (
	projectQuota = 2 // PRJQUOTA

	cmdGetQuota     = 'X'<<8 + 3 // Q_XGETQUOTA
	cmdSetLimits    = 'X'<<8 + 4 // Q_XSETQLIM
	cmdGetState     = 'X'<<8 + 5 // Q_XGETQSTAT
	cmdGetNextQuota = 'X'<<8 + 9 // Q_XGETNEXTQUOTA

	stateAccounted = 1 << 4 // FS_QUOTA_PDQ_ACCT
	stateEnforced  = 1 << 5 // FS_QUOTA_PDQ_ENFD

	recordVersion   = 1      // FS_DQUOT_VERSION
	projectRecord   = 1 << 1 // FS_PROJ_QUOTA
	fieldInodesHard = 1 << 1 // FS_DQ_IHARD
	fieldBlocksHard = 1 << 3 // FS_DQ_BHARD

	ioctlGetAttr = 0x801c581f // FS_IOC_FSGETXATTR
	ioctlSetAttr = 0x401c5820 // FS_IOC_FSSETXATTR

	flagImmutable      = 0x8   // FS_XFLAG_IMMUTABLE
	flagAppend         = 0x10  // FS_XFLAG_APPEND
	flagProjectInherit = 0x200 // FS_XFLAG_PROJINHERIT

	basicBlock = 512 // the unit of blocks in a record, whatever the file system's own
)

// fsDiskQuota is struct fs_disk_quota. What has no name here is left as it is:
// the mask says which fields a call sets.
type fsDiskQuota struct {
	version, flags int8
	fieldMask      uint16
	id             uint32
	blocksHard, _  uint64 // and soft
	inodesHard, _  uint64 // and soft
	blocks, inodes uint64
	_              [2]int32  // timers
	_              [2]uint16 // warnings
	_              [4]int8   // timers, high bits
	_              [3]uint64 // realtime limits and usage
	_              int32
	_              uint16
	_              int16
	_              [8]int8
}

// fsQuotaState is the head of struct fs_quota_stat, with room for the rest.
type fsQuotaState struct {
	_     int8 // version
	flags uint16
	_     [124]byte
}

// fsAttr is struct fsxattr.
type fsAttr struct {
	flags, extentSize, extents, project, copyExtentSize uint32
	_                                                   [8]byte
}

// xfsQuotas is the real table, reached through a directory of the file system
// (quotactl_fd, Linux 5.14) or, on older kernels, through its block device.
type xfsQuotas struct {
	dir    *os.File
	device string
	// byDevice leaves the directory out (tests).
	byDevice bool
}

func newXFSQuotas(dir *os.File, m mount) xfsQuotas {
	device := m.source
	if number, err := blockDevice(device); err != nil || number != m.device {
		// Such as /dev/root, or a name that only the host's /dev has.
		device = fmt.Sprintf("/dev/block/%d:%d", unix.Major(m.device), unix.Minor(m.device))
	}
	return xfsQuotas{dir: dir, device: device}
}

// control is quotactl(2) on the project quotas; argument points to what the
// command reads or fills in.
func control[T any](x xfsQuotas, command, id uint32, argument *T) error {
	c, of := uintptr(command<<8|projectQuota), uintptr(id)
	errno := unix.ENOSYS
	if !x.byDevice {
		_, _, errno = unix.Syscall6(unix.SYS_QUOTACTL_FD, x.dir.Fd(), c, of, uintptr(unsafe.Pointer(argument)), 0, 0)
		runtime.KeepAlive(x.dir)
	}
	if errno == unix.ENOSYS {
		path, err := unix.BytePtrFromString(x.device)
		if err != nil {
			return err
		}
		_, _, errno = unix.Syscall6(unix.SYS_QUOTACTL, c, uintptr(unsafe.Pointer(path)), of, uintptr(unsafe.Pointer(argument)), 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

func (x xfsQuotas) state() (quotaState, error) {
	var s fsQuotaState
	err := control(x, cmdGetState, 0, &s)
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	switch {
	case denied:
		return quotaOff, fmt.Errorf("read the quota state: %w", err)
	case err == nil && s.flags&stateEnforced != 0:
		return quotaEnforced, nil
	case err == nil && s.flags&stateAccounted != 0:
		return quotaAccounted, nil
	}
	return quotaOff, nil // each file system without quotas refuses in its own way
}

func (x xfsQuotas) get(project uint32) (record, error) {
	r, err := x.read(cmdGetQuota, project)
	if errors.Is(err, unix.ENOENT) {
		return record{project: project}, nil
	} else if err != nil {
		return record{}, fmt.Errorf("read the quota of project %d: %w", project, err)
	}
	return r, nil
}

func (x xfsQuotas) all(from uint32) ([]record, error) {
	var all []record
	for {
		r, err := x.read(cmdGetNextQuota, from)
		if errors.Is(err, unix.ENOENT) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the first quota from project %d up: %w", from, err)
		}
		all = append(all, r)
		if from = r.project + 1; from == 0 {
			return all, nil
		}
	}
}

func (x xfsQuotas) read(command, project uint32) (record, error) {
	var q fsDiskQuota
	if err := control(x, command, project, &q); err != nil {
		return record{}, err
	}
	return record{
		project: q.id,
		limit:   Quota{Bytes: blocksToBytes(q.blocksHard), Inodes: int64(min(q.inodesHard, 1<<62))},
		used:    blocksToBytes(q.blocks),
		inodes:  int64(min(q.inodes, 1<<62)),
	}, nil
}

// blocksToBytes bounds what an administrator may have set by hand, so that sums do not overflow.
func blocksToBytes(n uint64) volume.Size {
	return volume.Size(min(n, uint64(volume.MaxSize)/basicBlock)) * basicBlock
}

func (x xfsQuotas) setLimits(project uint32, q Quota) error {
	d := fsDiskQuota{
		version: recordVersion, flags: projectRecord, id: project,
		fieldMask:  fieldBlocksHard | fieldInodesHard,
		blocksHard: uint64(q.Bytes) / basicBlock,
		inodesHard: uint64(q.Inodes),
	}
	if err := control(x, cmdSetLimits, project, &d); err != nil {
		return fmt.Errorf("limit project %d to %d bytes, %d inodes: %w", project, int64(q.Bytes), q.Inodes, err)
	}
	return nil
}

func (x xfsQuotas) project(f *os.File) (uint32, error) {
	a, err := getAttr(f)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		return 0, nil
	}
	return a.project, err
}

func (x xfsQuotas) setProject(f *os.File, project uint32) error {
	a, err := getAttr(f)
	if err != nil {
		return err
	}
	a.project = project
	if info, err := f.Stat(); err != nil {
		return err
	} else if info.IsDir() {
		a.flags |= flagProjectInherit
	}
	return setAttr(f, a)
}

func getAttr(f *os.File) (fsAttr, error) {
	var a fsAttr
	return a, attrControl(f, ioctlGetAttr, &a)
}

func setAttr(f *os.File, a fsAttr) error { return attrControl(f, ioctlSetAttr, &a) }

func attrControl(f *os.File, request uintptr, a *fsAttr) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(a)))
	})
	if err != nil {
		return err
	}
	if errno != 0 {
		return &os.PathError{Op: "ioctl(attributes)", Path: f.Name(), Err: errno}
	}
	return nil
}
