package csi

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// firstError returns the first error, so that checks can be written as a list.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// given refuses an empty field that the spec calls REQUIRED.
func given(field, value string) error {
	if value == "" {
		return volume.NewFieldError(field, value, "a value: it is required")
	}
	return nil
}

// maxPath is the kernel's PATH_MAX without its final zero.
const maxPath = 4095

// checkPath refuses what is not the one spelling of an absolute path.
func checkPath(field, path string) error {
	bad := !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || len(path) > maxPath ||
		!utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl)
	if bad {
		return volume.NewFieldError(field, path, "an absolute path below /, without .., // or control characters, of at most 4095 bytes")
	}
	return nil
}

// access is how a volume is to be used: a checked VolumeCapability.
type access struct {
	mode  csipb.VolumeCapability_AccessMode_Mode
	flags mount.Flags
	group int // what a pod wants its files to belong to, or noGroup
}

// noGroup is where nobody asks for a group.
const noGroup = -1

// readOnly reports whether the mode allows no writer at all.
func (a access) readOnly() bool {
	return a.mode == csipb.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY ||
		a.mode == csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
}

// once reports whether the mode allows just one target path on a node. The spec
// says so of SINGLE_NODE_WRITER too, where a plugin knows the modes that
// replace it: an orchestrator that means several pods says SINGLE_NODE_MULTI_WRITER.
func (a access) once() bool {
	switch a.mode {
	case csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
		csipb.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
		csipb.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER:
		return true
	default:
		return false
	}
}

// parseCapability checks one capability. Gluster serves every access mode; how
// many nodes use a volume at once is the orchestrator's to see to.
func parseCapability(field string, c *csipb.VolumeCapability) (access, error) {
	if c == nil {
		return access{}, volume.NewFieldError(field, "", "a volume capability: it is required")
	}
	if c.GetBlock() != nil {
		return access{}, volume.NewFieldError(field+".access_type", "block", "mount: a Gluster volume is a file system, no block device")
	}
	m := c.GetMount()
	if m == nil {
		return access{}, volume.NewFieldError(field+".access_type", "", "mount")
	}
	if t := m.GetFsType(); t != "" && t != "glusterfs" {
		return access{}, volume.NewFieldError(field+".mount.fs_type", t, "nothing, or glusterfs")
	}
	group, err := parseGroup(field+".mount.volume_mount_group", m.GetVolumeMountGroup())
	if err != nil {
		return access{}, err
	}
	flags, err := mount.ParseFlags(m.GetMountFlags())
	if err != nil {
		return access{}, err
	}
	mode := c.GetAccessMode().GetMode()
	if _, known := csipb.VolumeCapability_AccessMode_Mode_name[int32(mode)]; !known || mode == csipb.VolumeCapability_AccessMode_UNKNOWN {
		return access{}, volume.NewFieldError(field+".access_mode", mode.String(), "one of the access modes of CSI 1.13")
	}
	return access{mode: mode, flags: flags, group: group}, nil
}

// parseGroup reads the group that a pod wants (fsGroup in Kubernetes).
func parseGroup(field, given string) (int, error) {
	if given == "" {
		return noGroup, nil
	}
	gid, err := strconv.ParseUint(given, 10, 31)
	if err != nil || given != strconv.FormatUint(gid, 10) {
		return noGroup, volume.NewFieldError(field, given, "a group ID from 0 to 2147483647")
	}
	return int(gid), nil
}

// maxCapabilities is more than there are distinct ones.
const maxCapabilities = 64

func checkCapabilities(list []*csipb.VolumeCapability) error {
	if len(list) == 0 || len(list) > maxCapabilities {
		return volume.NewFieldError("volume_capabilities", strconv.Itoa(len(list))+" entries", "1 to 64 entries")
	}
	for i, c := range list {
		if _, err := parseCapability(fmt.Sprintf("volume_capabilities[%d]", i), c); err != nil {
			return err
		}
	}
	return nil
}

func areServed(list []*csipb.VolumeCapability) bool { return checkCapabilities(list) == nil }

// createRange reads the size of a volume to be made; none given means the default.
func createRange(r *csipb.CapacityRange) (volume.SizeRange, error) {
	if r == nil {
		return volume.NewSizeRange(0, 0)
	}
	return givenRange(r)
}

// givenRange reads a size that somebody did ask for.
func givenRange(r *csipb.CapacityRange) (volume.SizeRange, error) {
	if r == nil || r.GetRequiredBytes() == 0 && r.GetLimitBytes() == 0 {
		return volume.SizeRange{}, volume.NewFieldError("capacity_range.required_bytes", "0", "a number of bytes above zero")
	}
	return volume.NewSizeRange(r.GetRequiredBytes(), r.GetLimitBytes())
}

// createSpec reads a CreateVolumeRequest. Its secrets are left alone: the
// backends of this version need none from the orchestrator.
func createSpec(volumes Volumes, req *csipb.CreateVolumeRequest) (volume.Spec, error) {
	err := firstError(
		given("name", req.GetName()),
		checkCapabilities(req.GetVolumeCapabilities()),
		absent("volume_content_source", req.GetVolumeContentSource() != nil, "volumes are made empty: this driver has no snapshots and no clones"),
		absent("accessibility_requirements", req.GetAccessibilityRequirements() != nil, "every node reaches every volume, so there is no topology"),
		absent("mutable_parameters", len(req.GetMutableParameters()) > 0, "this driver modifies no volumes: put them into parameters"),
	)
	if err != nil {
		return volume.Spec{}, err
	}
	size, err := createRange(req.GetCapacityRange())
	if err != nil {
		return volume.Spec{}, err
	}
	return volumes.Spec(req.GetName(), size, req.GetParameters())
}

// absent refuses a field that only plugins with a capability that we do not
// advertise understand; to ignore it would make something else than was asked.
func absent(field string, present bool, why string) error {
	if present {
		return volume.NewFieldError(field, "present", "nothing: "+why)
	}
	return nil
}
