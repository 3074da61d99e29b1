package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// BackendName says which backend serves a volume.
type BackendName string

// The backends.
const (
	// Plain carves brick directories out of brick roots: lvm "false".
	Plain BackendName = "plain"
	// Heketi has heketi make bricks on thin logical volumes: lvm "true".
	Heketi BackendName = "heketi"
)

// Limits on names, in bytes. A handle is "bl1" + backend + pool + volume,
// joined by dots: 3+1+6+1+40+1+64 = 116, below the 128 that CSI allows an ID.
const (
	MaxPoolName   = 40
	MaxVolumeName = 64
	MaxHandle     = 128
	// MaxRequestName is what CSI allows a CreateVolumeRequest's name.
	MaxRequestName = 128
)

// handleVersion opens every handle; another layout gets another version.
const handleVersion = "bl1"

// Handle identifies a volume for ever: it is the CSI volume ID. The zero value
// is no handle. Handles are comparable.
type Handle struct {
	Backend BackendName
	// Pool is the pool's name.
	Pool string
	// Name is the Gluster volume's name.
	Name string
}

// String returns the handle as "bl1.BACKEND.POOL.VOLUME". None of its bytes
// means anything to a shell, a path or an fstab.
func (h Handle) String() string {
	return handleVersion + "." + string(h.Backend) + "." + h.Pool + "." + h.Name
}

// ParseHandle reads what String wrote, and nothing else. An ID that is not a
// handle names no volume, so its error is NotFound, except where it is empty.
func ParseHandle(id string) (Handle, error) {
	const allowed = "bl1.BACKEND.POOL.VOLUME, as returned when the volume was created"
	if id == "" {
		return Handle{}, NewFieldError("volume_id", id, allowed)
	}
	bad := &Error{Kind: NotFound, Op: "find volume", Err: NewFieldError("volume_id", id, allowed)}
	if len(id) > MaxHandle {
		return Handle{}, bad
	}
	parts := strings.Split(id, ".")
	if len(parts) != 4 || parts[0] != handleVersion {
		return Handle{}, bad
	}
	h := Handle{Backend: BackendName(parts[1]), Pool: parts[2], Name: parts[3]}
	if h.Backend != Plain && h.Backend != Heketi {
		return Handle{}, bad
	}
	if CheckPoolName(h.Pool) != nil || CheckName(h.Name) != nil {
		return Handle{}, bad
	}
	return h, nil
}

// CheckPoolName refuses what is not a DNS label (RFC 1123) of at most MaxPoolName bytes.
func CheckPoolName(name string) error {
	if !isName(name, MaxPoolName, "-") || strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") {
		return NewFieldError("pool", name,
			"1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit")
	}
	return nil
}

// CheckName refuses what is no Gluster volume name of ours: it must be safe as
// a path element, as an argument, and in a handle.
func CheckName(name string) error {
	if !isName(name, MaxVolumeName, "-_") || strings.HasPrefix(name, "-") || strings.HasPrefix(name, "_") {
		return NewFieldError("volume", name, "1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit")
	}
	return nil
}

func isName(s string, most int, extra string) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return true
}

// CheckRequestName refuses names that are too long for CSI or that smell of an
// attack on a path, a log or a command line.
func CheckRequestName(name string) error {
	const allowed = "1 to 128 bytes of UTF-8, without control characters, / or .., and not beginning with -"
	switch {
	case name == "", len(name) > MaxRequestName, !printable(name),
		strings.Contains(name, "/"), strings.Contains(name, ".."), strings.HasPrefix(name, "-"):
		return NewFieldError("name", name, allowed)
	}
	return nil
}

// hashedPrefix opens the names derived by hashing; a request that uses it as
// it stands is hashed too, so that no two requests can meet in one name.
const hashedPrefix = "bl-"

// DeriveName returns the Gluster volume name for a request's name and prefix
// (volumenameprefix; may be empty). The same request always gets the same
// name; two requests with the same prefix never share one. Both arguments must
// have passed their checks.
func DeriveName(prefix, request string) string {
	base := request
	room := MaxVolumeName
	if prefix != "" {
		prefix += "_"
		room -= len(prefix)
	}
	if CheckName(request) != nil || strings.HasPrefix(request, hashedPrefix) ||
		strings.Contains(request, "_") || len(request) > room {
		sum := sha256.Sum256([]byte(request))
		base = hashedPrefix + hex.EncodeToString(sum[:16])
	}
	return prefix + base
}
