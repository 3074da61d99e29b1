package brick

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// MarkerName is the file that makes a directory a brick root.
const MarkerName = ".bricklayer-root"

const markerVersion = 1

// Marker is what that file says.
type Marker struct {
	// Version is that of this file's shape.
	Version int `json:"version"`
	// Pool and Root are the names that the root was made for.
	Pool string `json:"pool"`
	Root string `json:"root"`
	// ID is random: no two roots share one, whatever they are called.
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	// MountPoint is true where the root must be a mount point, so that an
	// unmounted disk is never mistaken for it.
	MountPoint bool `json:"mountPoint"`
	// Quota is true where the file system must enforce project quotas.
	Quota bool `json:"quota"`
}

// same reports whether two markers are of one root, made for the same.
func (m Marker) same(other Marker) bool {
	return m.ID == other.ID && m.Pool == other.Pool && m.Root == other.Root
}

var errNoMarker = errors.New("there is no marker file " + MarkerName)

// readMarker reads the marker in dir, which must lie on device and be a plain file there.
func readMarker(dir *os.Root, device uint64) (Marker, error) {
	info, err := dir.Lstat(MarkerName)
	if errors.Is(err, fs.ErrNotExist) {
		return Marker{}, errNoMarker
	} else if err != nil {
		return Marker{}, err
	}
	if deviceOf(info) != device || !info.Mode().IsRegular() {
		return Marker{}, fmt.Errorf("the marker %s is not a regular file on the root's own file system", MarkerName)
	}
	var m Marker
	if err := readJSON(dir, MarkerName, &m); err != nil {
		return Marker{}, err
	}
	if m.Version != markerVersion {
		return Marker{}, fmt.Errorf("the marker is of version %d, this program knows version %d", m.Version, markerVersion)
	}
	if m.Pool == "" || m.Root == "" || m.ID == "" {
		return Marker{}, fmt.Errorf("the marker %s lacks its pool, root or ID", MarkerName)
	}
	return m, nil
}

// deviceOf returns the number of the device that a file lies on.
func deviceOf(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Dev
	}
	return 0
}

// newID returns a random UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program rather
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
