package host

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Probed is what a file says of itself.
type Probed struct {
	Inode   uint64
	Changed time.Time
}

// MakeProbe makes an empty file that must not be there.
func (h *Host) MakeProbe(path string) (Probed, error) {
	f, err := os.OpenFile(h.path(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Probed{}, h.error(path, err)
	}
	if err := f.Close(); err != nil {
		return Probed{}, h.error(path, err)
	}
	return h.Probed(path)
}

// Probed returns what a file says of itself.
func (h *Host) Probed(path string) (Probed, error) {
	var s unix.Stat_t
	if err := unix.Stat(h.path(path), &s); err != nil {
		return Probed{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return Probed{Inode: s.Ino, Changed: time.Unix(s.Ctim.Unix()).UTC()}, nil
}

// RemoveProbe removes a file that MakeProbe made.
func (h *Host) RemoveProbe(path string) error { return h.error(path, os.Remove(h.path(path))) }
