// Package mounttest owns a fake mounter, which mounts nothing, and the suite
// that it and the real one pass alike.
//
// It refuses to know what mounts are for.
package mounttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// Fake is a mount table in memory. Make it with NewFake.
type Fake struct {
	// Volume says which Gluster volumes there are and what df shows of them.
	Volume func(name string) (mount.Usage, error)

	mu     sync.Mutex
	table  []mount.Mount
	faults map[string]error // by device: why it does not answer
	inUse  map[string]bool  // by target
	fail   map[string]error // by method: what its next call returns
	device int
	ready  error
}

// NewFake returns a fake on which every volume exists.
func NewFake() *Fake {
	return &Fake{
		Volume: func(string) (mount.Usage, error) {
			return mount.Usage{Total: 1 << 30, Free: 1 << 29, Available: 1 << 29, Files: 1000, FilesFree: 900}, nil
		},
		faults: map[string]error{}, inUse: map[string]bool{}, fail: map[string]error{},
	}
}

// Break makes the mounts of a volume fail to answer with err (mount.ErrStale,
// ErrDisconnected, ErrSilent); nil mends those that can be mended.
func (f *Fake) Break(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.table {
		if m.Volume() == name && !errors.Is(f.faults[m.Device], mount.ErrStale) {
			f.faults[m.Device] = err
		}
	}
}

// FailNext makes the next call of a method ("Glusterfs", "Bind", "Unmount") fail before it does anything.
func (f *Fake) FailNext(method string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[method] = err
}

// Use makes the mount at target count as used by a process, or no longer.
func (f *Fake) Use(target string, used bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inUse[target] = used
}

// SetReady sets what Ready returns.
func (f *Fake) SetReady(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready = err
}

// Add puts any mount into the table.
func (f *Fake) Add(m mount.Mount) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.table = append(f.table, m)
}

// enter locks the fake and returns what the call must fail with.
func (f *Fake) enter(ctx context.Context, method string) (unlock func(), err error) {
	f.mu.Lock()
	err = f.fail[method]
	delete(f.fail, method)
	if ctxErr := ctx.Err(); ctxErr != nil {
		err = &volume.Error{Kind: volume.Unavailable, Op: method, Err: ctxErr}
	}
	return f.mu.Unlock, err
}

// Glusterfs puts a Gluster mount into the table.
func (f *Fake) Glusterfs(ctx context.Context, src mount.Source, target string, flags mount.Flags) error {
	unlock, err := f.enter(ctx, "Glusterfs")
	defer unlock()
	if err != nil {
		return err
	}
	if m, mounted := mount.At(f.table, target); mounted && m.Type == "fuse.glusterfs" {
		return mount.AlreadyMounted(src, m)
	}
	if _, err := f.Volume(src.Volume); err != nil {
		return &volume.Error{Kind: volume.KindOf(err), Op: "mount volume " + src.Volume, On: target, Err: err}
	}
	f.device++
	f.table = append(f.table, mount.Mount{
		Target: target, Root: "/", Type: "fuse.glusterfs", Source: src.Servers[0] + ":/" + src.Volume,
		Device: fmt.Sprintf("0:%d", f.device), ReadOnlyClient: flags.ReadOnly,
	})
	return nil
}

// Bind copies the mount at source.
func (f *Fake) Bind(ctx context.Context, source, target string, readOnly bool) error {
	unlock, err := f.enter(ctx, "Bind")
	defer unlock()
	if err != nil {
		return err
	}
	m, mounted := mount.At(f.table, source)
	if !mounted {
		m = mount.Mount{Root: source, Type: "ext4", Source: "/dev/fake", Device: "8:1"}
	}
	m.Target, m.ReadOnly = target, readOnly
	f.table = append(f.table, m)
	return nil
}

// Unmount takes the topmost mount at target out of the table.
func (f *Fake) Unmount(ctx context.Context, target string) error {
	unlock, err := f.enter(ctx, "Unmount")
	defer unlock()
	if err != nil {
		return err
	}
	for i, m := range slices.Backward(f.table) {
		if m.Target != target {
			continue
		}
		if f.inUse[target] && f.faults[m.Device] == nil {
			return &volume.Error{Kind: volume.Busy, Op: "unmount", On: target, Err: errors.New("device or resource busy")}
		}
		f.table = slices.Delete(f.table, i, i+1)
		return nil
	}
	return nil
}

// Mounts returns the table.
func (f *Fake) Mounts(ctx context.Context) ([]mount.Mount, error) {
	unlock, err := f.enter(ctx, "Mounts")
	defer unlock()
	return slices.Clone(f.table), err
}

// Usage returns what Volume says of the volume mounted at target.
func (f *Fake) Usage(ctx context.Context, target string) (mount.Usage, error) {
	unlock, err := f.enter(ctx, "Usage")
	defer unlock()
	if err != nil {
		return mount.Usage{}, err
	}
	m, mounted := mount.At(f.table, target)
	if !mounted || m.Volume() == "" {
		return mount.Usage{Total: 1 << 40, Free: 1 << 39, Available: 1 << 39, Files: 1000, FilesFree: 900}, nil
	}
	if fault := f.faults[m.Device]; fault != nil {
		return mount.Usage{}, &volume.Error{Kind: volume.Unavailable, Op: "ask for the space", On: target, Err: fault}
	}
	return f.Volume(m.Volume())
}

// Ready returns what SetReady set.
func (f *Fake) Ready(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ready
}
