package plain

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// The options by which Gluster itself remembers what a volume is.
const (
	markHandle      = volume.MarkPrefix + "handle"
	markSize        = volume.MarkPrefix + "size" // bytes
	markType        = volume.MarkPrefix + "type"
	markFingerprint = volume.MarkPrefix + "fingerprint"
	markGID         = volume.MarkPrefix + "gid"
	markQuota       = volume.MarkPrefix + "quota" // enforce or none
	markOnDelete    = volume.MarkPrefix + "on-delete"
	markCreated     = volume.MarkPrefix + "created"  // seconds since 1970
	markReleased    = volume.MarkPrefix + "released" // likewise; set once onDelete "retain" let the volume go
)

// marks are what the options of a volume say of it.
type marks struct {
	handle      volume.Handle
	size        volume.Size
	typ         volume.Type
	fingerprint string
	gid         int
	enforce     bool
	onDelete    volume.OnDelete
	created     time.Time
	released    bool
}

// options returns the marks as Gluster options.
func (m marks) options() []gluster.Option {
	quota := "enforce"
	if !m.enforce {
		quota = "none"
	}
	return []gluster.Option{
		{Key: markHandle, Value: m.handle.String()},
		{Key: markSize, Value: strconv.FormatInt(int64(m.size), 10)},
		{Key: markType, Value: m.typ.String()},
		{Key: markFingerprint, Value: m.fingerprint},
		{Key: markGID, Value: strconv.Itoa(m.gid)},
		{Key: markQuota, Value: quota},
		{Key: markOnDelete, Value: string(m.onDelete)},
		{Key: markCreated, Value: strconv.FormatInt(m.created.Unix(), 10)},
	}
}

// readMarks reads a volume's marks. ok is false where it has none; an error
// means that somebody changed them by hand.
func readMarks(v gluster.Volume) (m marks, ok bool, err error) {
	text, ok := v.Options[markHandle]
	if !ok {
		return marks{}, false, nil
	}
	var faults []string
	check := func(key string, err error) {
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s %q", key, v.Options[key]))
		}
	}
	number := func(key string) int64 {
		n, err := strconv.ParseInt(v.Options[key], 10, 64)
		check(key, err)
		return n
	}
	m.handle, err = volume.ParseHandle(text)
	check(markHandle, err)
	m.typ, err = volume.ParseType(v.Options[markType])
	check(markType, err)
	m.size = volume.Size(number(markSize))
	m.gid = int(number(markGID))
	m.created = time.Unix(number(markCreated), 0).UTC()
	m.fingerprint = v.Options[markFingerprint]
	m.enforce = v.Options[markQuota] != "none"
	m.onDelete = volume.OnDelete(v.Options[markOnDelete])
	_, m.released = v.Options[markReleased]
	if len(faults) > 0 || m.size <= 0 || m.size > volume.MaxSize {
		return marks{}, false, &volume.Error{
			Kind: volume.Internal, Op: "read the marks", On: "volume " + v.Name,
			Err:  fmt.Errorf("these options are not as we wrote them: %s", strings.Join(faults, ", ")),
			Next: "put the options user.bricklayer.* of the volume right by hand",
		}
	}
	return m, true, nil
}

// volumeOptions returns all options that a new volume gets, in the order in
// which they are set: ours, then those of the class, which may overrule ours.
func (b *Backend) volumeOptions(m marks, class []volume.Option) []gluster.Option {
	options := m.options()
	if len(b.ClientNetworks) > 0 {
		options = append(options, gluster.Option{Key: "auth.allow", Value: strings.Join(b.ClientNetworks, ",")})
	}
	if m.enforce {
		// The size is the quota; a reserve on top of it would take a hundredth
		// of what was asked, and refuse writes for up to 5 s after an expand.
		options = append(options, gluster.Option{Key: "storage.reserve", Value: "0"})
	}
	for _, o := range class {
		i := indexOption(options, o.Key)
		if i < 0 {
			options = append(options, gluster.Option{})
			i = len(options) - 1
		}
		options[i] = gluster.Option(o)
	}
	return options
}

func indexOption(options []gluster.Option, key string) int {
	for i, o := range options {
		if o.Key == key {
			return i
		}
	}
	return -1
}
