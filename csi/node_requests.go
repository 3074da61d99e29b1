package csi

import (
	"path/filepath"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// staging is a checked NodeStageVolumeRequest.
type staging struct {
	handle volume.Handle
	source mount.Source
	path   string
	access access
}

func parseStage(req *csipb.NodeStageVolumeRequest) (staging, error) {
	return parseStaging(req.GetVolumeId(), req.GetStagingTargetPath(), req.GetVolumeCapability(), req.GetVolumeContext())
}

// parseStaging checks what is given before what it means, so that a missing
// field is never reported as a volume that was not found.
func parseStaging(id, path string, c *csipb.VolumeCapability, context map[string]string) (staging, error) {
	s := staging{}
	err := firstError(given("volume_id", id), given("staging_target_path", path), checkPath("staging_target_path", path))
	if err != nil {
		return staging{}, err
	}
	if s.access, err = parseCapability("volume_capability", c); err != nil {
		return staging{}, err
	}
	if s.handle, err = volume.ParseHandle(id); err != nil {
		return staging{}, err
	}
	if s.source, err = fromContext(s.handle, context); err != nil {
		return staging{}, err
	}
	s.path, err = resolve(path)
	return s, err
}

// publishing is a checked NodePublishVolumeRequest.
type publishing struct {
	staging
	target   string
	readOnly bool
}

func parsePublish(req *csipb.NodePublishVolumeRequest) (publishing, error) {
	err := firstError(given("volume_id", req.GetVolumeId()), given("target_path", req.GetTargetPath()),
		checkPath("target_path", req.GetTargetPath()))
	if err != nil {
		return publishing{}, err
	}
	if _, err := parseCapability("volume_capability", req.GetVolumeCapability()); err != nil {
		return publishing{}, err
	}
	if req.GetStagingTargetPath() == "" {
		return publishing{}, &volume.Error{
			Kind: volume.Precondition, Op: "publish volume", On: req.GetVolumeId(),
			Err: given("staging_target_path", ""), Next: "call NodeStageVolume first",
		}
	}
	s, err := parseStaging(req.GetVolumeId(), req.GetStagingTargetPath(), req.GetVolumeCapability(), req.GetVolumeContext())
	if err != nil {
		return publishing{}, err
	}
	p := publishing{staging: s}
	p.readOnly = req.GetReadonly() || s.access.readOnly() || s.access.flags.ReadOnly
	if p.target, err = resolve(req.GetTargetPath()); err != nil {
		return publishing{}, err
	}
	if p.target == p.path {
		return publishing{}, volume.NewFieldError("target_path", p.target, "another path than staging_target_path")
	}
	return p, nil
}

// parsePlace checks a volume ID and the path where that volume may be mounted.
func parsePlace(field, id, path string) (volume.Handle, string, error) {
	err := firstError(given("volume_id", id), given(field, path), checkPath(field, path))
	if err != nil {
		return volume.Handle{}, "", err
	}
	h, err := volume.ParseHandle(id)
	if err != nil {
		return volume.Handle{}, "", err
	}
	path, err = resolve(path)
	return h, path, err
}

// resolve follows the symbolic links above a path, because the mount table
// names real paths. The last element is left alone: it may be a dead mount,
// which must not be touched, and it must not be a link. Where a parent is
// missing nothing can be mounted, and the path stays as it is.
func resolve(path string) (string, error) {
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if isMissing(err) {
		return path, nil
	}
	if err != nil {
		return "", &volume.Error{Kind: volume.Internal, Op: "resolve path", On: path, Err: err}
	}
	return filepath.Join(parent, filepath.Base(path)), nil
}
