package brick

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"bricklayer.csi/internal/volume"
)

const opInit = "make a brick root"

// InitOptions say what directory becomes a brick root.
type InitOptions struct {
	Pool string
	Root RootConfig
	// AnyDirectory allows a path that is no mount point. An unmounted disk is
	// then not told from a mounted one by that.
	AnyDirectory bool
	// NoQuota allows a file system without project quotas. Only classes that
	// say "quota: none" can use it.
	NoQuota bool

	openQuotas func(o *openRoot) quotas
}

// Init makes a directory a brick root by writing its marker, and returns the
// marker. One that is there already, for the same pool and root, is left as it
// is. A directory with anything else in it is refused, as is a file system
// that is not XFS with project quotas, and a path that is not its mount point.
func Init(ctx context.Context, o InitOptions) (Marker, error) {
	if err := errors.Join(volume.CheckPoolName(o.Pool), checkRootName("root.name", o.Root.Name),
		checkRootPath("root.path", o.Root.Path)); err != nil {
		return Marker{}, err
	}
	if err := ctx.Err(); err != nil {
		return Marker{}, err
	}
	r := &root{config: o.Root}
	open, err := openAny(o.Root.Path)
	if err != nil {
		return Marker{}, r.fail(volume.Precondition, opInit, "", err, "make the directory and mount the disk there")
	}
	defer func() { _ = open.release() }() // it was only read, or synced
	open.root = r
	if err := lock(open.self); err != nil {
		return Marker{}, r.fail(volume.Precondition, opInit, "", err, "it is a brick root that an agent serves already")
	}
	switch m, err := readMarker(open.dir, open.device); {
	case err == nil && m.Pool == o.Pool && m.Root == o.Root.Name:
		return m, nil
	case err == nil:
		return Marker{}, r.fail(volume.Exists, opInit, "", fmt.Errorf("it is root %q of pool %q already", m.Root, m.Pool),
			"correct the configuration, or remove "+MarkerName+" there if that pool no longer exists")
	case !errors.Is(err, errNoMarker):
		return Marker{}, r.failIO(opInit, "", err)
	}
	if err := open.fit(o); err != nil {
		return Marker{}, err
	}
	m, err := open.initialise(o)
	return m, r.failIO(opInit, "", err)
}

// fit refuses what would not do as a brick root.
func (o *openRoot) fit(want InitOptions) error {
	names, err := foreignNames(o.dir)
	switch {
	case err != nil:
		return o.failIO(opInit, "", err)
	case len(names) > 0:
		return o.fail(volume.Precondition, opInit, "", fmt.Errorf("it is not empty: %q", names),
			"give Bricklayer an empty file system of its own")
	case !want.AnyDirectory && !o.isMountPoint(o.config.Path):
		return o.fail(volume.Precondition, opInit, "",
			fmt.Errorf("it is not a mount point: it lies on %s, mounted at %s", o.mount.source, o.mount.point),
			"mount the disk there first, or allow any directory in so many words")
	}
	if want.NoQuota {
		return nil
	}
	state := quotaOff
	if want.openQuotas != nil {
		state, err = want.openQuotas(o).state()
	} else if o.mount.fileSystem == "xfs" {
		state, err = newXFSQuotas(o.self, o.mount).state()
	}
	if err != nil {
		return o.failIO(opInit, "", err)
	}
	if state != quotaEnforced {
		return o.quotaOff(opInit, "", state)
	}
	return nil
}

// foreignNames returns the first few names in a directory that mkfs or an
// interrupted Init did not put there.
func foreignNames(dir *os.Root) ([]string, error) {
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{"lost+found": true, MarkerName + ".new": true}
	for _, d := range layoutDirs {
		ours[d] = true
	}
	var names []string
	for _, e := range entries {
		if !ours[e.Name()] && len(names) < maxLeft {
			names = append(names, e.Name())
		} else if e.IsDir() && e.Name() != "lost+found" {
			below, err := fs.ReadDir(dir.FS(), e.Name())
			if err != nil {
				return nil, err
			}
			if len(below) > 0 {
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}

// initialise makes the layout and then the marker, which makes it count.
func (o *openRoot) initialise(want InitOptions) (Marker, error) {
	for _, name := range layoutDirs {
		if err := o.dir.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return Marker{}, err
		}
	}
	m := Marker{
		Version: markerVersion, Pool: want.Pool, Root: want.Root.Name, ID: newID(),
		Created: time.Now().UTC().Truncate(time.Second), MountPoint: !want.AnyDirectory, Quota: !want.NoQuota,
	}
	if err := writeJSON(o.dir, MarkerName, m); err != nil {
		return Marker{}, err
	}
	return m, o.self.Sync()
}
