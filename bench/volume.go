package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// Volumes makes, finds and removes volumes; lifecycle.Service does.
type Volumes interface {
	Spec(name string, size volume.SizeRange, parameters map[string]string) (volume.Spec, error)
	Create(ctx context.Context, spec volume.Spec) (volume.Volume, error)
	Get(ctx context.Context, h volume.Handle) (volume.Volume, error)
	Delete(ctx context.Context, h volume.Handle) error
}

// Mounts is how volumes are mounted on this host.
type Mounts struct {
	Mounter mount.Mounter
	// Dir is where mount points are made.
	Dir string
}

// Mount mounts a volume and returns its mount point.
func (m Mounts) Mount(ctx context.Context, name string, src mount.Source) (string, error) {
	target := m.at(name)
	if err := os.MkdirAll(target, 0o700); err != nil {
		return "", err
	}
	if err := m.Mounter.Glusterfs(ctx, src, target, mount.Flags{}); err != nil {
		return "", err
	}
	return target, nil
}

func (m Mounts) at(name string) string { return filepath.Join(m.Dir, name) }

// Unmount ends a mount of ours, where there is one.
func (m Mounts) Unmount(ctx context.Context, name string) error {
	target := m.at(name)
	if err := m.Mounter.Unmount(ctx, target); err != nil {
		return err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Volume is a volume: one that is there, or one that is made for the benchmark
// and removed after it.
type Volume struct {
	name    string
	run     string
	volumes Volumes
	mounts  Mounts
	// existing is set where it is there already.
	existing volume.Handle
	// spec is what is made otherwise, from the parameters of a class.
	spec  volume.Spec
	class map[string]string
	// made is what was made or found.
	made    volume.Volume
	created bool
}

// Existing is a volume that is there. Its files are left alone.
func Existing(name string, h volume.Handle, v Volumes, m Mounts) (*Volume, error) {
	return &Volume{name: name, run: name, volumes: v, mounts: m, existing: h}, CheckTargetName(name)
}

// OfClass is a volume that is made with the parameters of a class. run tells one
// run of the benchmarks from others: names are made with it.
func OfClass(name, run string, class map[string]string, size volume.Size, v Volumes, m Mounts) (*Volume, error) {
	if err := CheckTargetName(name); err != nil {
		return nil, err
	}
	spec, err := v.Spec(run+"-"+name, volume.SizeRange{Required: size}, class)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	return &Volume{name: name, run: run + "-" + name, volumes: v, mounts: m, spec: spec, class: class}, nil
}

// Name implements Target.
func (t *Volume) Name() string { return t.name }

// Kind implements Target.
func (t *Volume) Kind() string {
	switch {
	case t.existing != volume.Handle{}:
		return "volume"
	case t.spec.Parameters.LVM:
		return `class, lvm "true"`
	}
	return `class, lvm "false"`
}

// Open makes or finds the volume, and mounts it.
func (t *Volume) Open(ctx context.Context) (_ Place, err error) {
	if (t.existing != volume.Handle{}) {
		t.made, err = t.volumes.Get(ctx, t.existing)
	} else {
		t.created = true // from now on something of it may be there
		t.made, err = t.volumes.Create(ctx, t.spec)
	}
	if err != nil {
		return Place{}, fmt.Errorf("target %s: %w", t.name, err)
	}
	dir, err := t.mounts.Mount(ctx, t.run, mount.Source{Servers: t.made.Servers, Volume: t.made.Handle.Name})
	if err != nil {
		return Place{}, fmt.Errorf("target %s: mount %s: %w", t.name, t.made.Handle, err)
	}
	facts := map[string]string{
		"handle": t.made.Handle.String(), "size": t.made.Size.String(), "type": t.made.Type.String(),
		"bricks": strings.Join(t.made.Bricks, ", "),
	}
	parameters := maps.Clone(t.class)
	HideSecrets(parameters)
	for key, value := range parameters {
		facts["parameter "+key] = value
	}
	return Place{Dir: dir, Facts: facts}, nil
}

// HideSecrets takes out of a class's parameters what must not be shown.
func HideSecrets(parameters map[string]string) {
	maps.DeleteFunc(parameters, func(key, _ string) bool { return strings.EqualFold(key, "restuserkey") })
}

// Close unmounts the volume, and removes it where it was made for this.
func (t *Volume) Close(ctx context.Context) error {
	if err := t.mounts.Unmount(ctx, t.run); err != nil {
		return err // a volume that is mounted still must not be pulled away
	}
	if !t.created {
		return nil
	}
	if err := t.volumes.Delete(ctx, t.spec.Handle()); err != nil {
		return fmt.Errorf("delete volume %s: %w (repeat with bricklayer volume delete)", t.spec.Handle(), err)
	}
	t.created = false
	return nil
}

// Plain says whether it is made, with bricks that are directories of brick roots.
func (t *Volume) Plain() bool { return (t.existing == volume.Handle{}) && !t.spec.Parameters.LVM }
