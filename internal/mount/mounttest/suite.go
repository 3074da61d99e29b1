package mounttest

import (
	"context"
	"errors"
	"testing"
	"time"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// Env is a mounter to be tested and the world around it.
type Env struct {
	Mounter mount.Mounter
	// Source is a volume that can be mounted; Missing one that does not exist.
	Source, Missing mount.Source
	// Dir returns a new empty directory, without symbolic links in its path.
	Dir func(t *testing.T) string
	// KillClient ends the client that serves the mount at target.
	KillClient func(t *testing.T, target string)
	// Hold has a process use the mount at target until release is called.
	Hold func(t *testing.T, target string) (release func())
}

// Run tests a mounter; no case may leave a mount.
func Run(t *testing.T, env Env) {
	t.Helper()
	cases := []struct {
		name string
		run  func(ctx context.Context, t *testing.T, e Env)
	}{
		{"mount, look, unmount twice", testMount},
		{"read-only client", testReadOnlyClient},
		{"volume that does not exist", testMissing},
		{"no time left", testNoTime},
		{"bind and bind read-only", testBind},
		{"stale mount", testStale},
		{"stale mount in use", testStaleInUse},
		{"mount in use", testInUse},
		{"stacked mounts", testStacked},
		{"two volumes at one target", testTwice},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			recorded, dirs := env, []string{}
			recorded.Dir = func(t *testing.T) string {
				t.Helper()
				dirs = append(dirs, env.Dir(t))
				return dirs[len(dirs)-1]
			}
			c.run(ctx, t, recorded)
			for _, dir := range dirs {
				if m, left := mount.At(table(ctx, t, env), dir); left {
					t.Errorf("left mounted: %+v", m)
				}
			}
		})
	}
}

func table(ctx context.Context, t *testing.T, e Env) []mount.Mount {
	t.Helper()
	list, err := e.Mounter.Mounts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// mounted mounts the volume at a new directory.
func mounted(ctx context.Context, t *testing.T, e Env, flags ...string) string {
	t.Helper()
	f, err := mount.ParseFlags(flags)
	if err != nil {
		t.Fatal(err)
	}
	target := e.Dir(t)
	if err := e.Mounter.Glusterfs(ctx, e.Source, target, f); err != nil {
		t.Fatal(err)
	}
	return target
}

func unmount(ctx context.Context, t *testing.T, e Env, target string) {
	t.Helper()
	if err := e.Mounter.Unmount(ctx, target); err != nil {
		t.Error(err)
	}
}

// at returns the mount at target, which must be the test's volume.
func at(ctx context.Context, t *testing.T, e Env, target string) mount.Mount {
	t.Helper()
	m, found := mount.At(table(ctx, t, e), target)
	if !found || m.Volume() != e.Source.Volume {
		t.Fatalf("at %s there is %+v, %v; want volume %s", target, m, found, e.Source.Volume)
	}
	return m
}

func testMount(ctx context.Context, t *testing.T, e Env) {
	t.Helper()
	target := mounted(ctx, t, e, "noatime", "log-level=ERROR")
	if m := at(ctx, t, e, target); m.ReadOnly || m.ReadOnlyClient || m.Root != "/" {
		t.Errorf("got %+v; want the whole volume, writable", m)
	}
	u, err := e.Mounter.Usage(ctx, target)
	if err != nil || u.Total <= 0 || u.Available > u.Total || u.Files <= 0 {
		t.Errorf("usage: %+v, %v", u, err)
	}
	unmount(ctx, t, e, target)
	unmount(ctx, t, e, target)
}

func testReadOnlyClient(ctx context.Context, t *testing.T, e Env) {
	t.Helper()
	target := mounted(ctx, t, e, "ro")
	if m := at(ctx, t, e, target); !m.ReadOnlyClient {
		t.Errorf("got %+v; want it read-only", m)
	}
	unmount(ctx, t, e, target)
}

func testMissing(ctx context.Context, t *testing.T, e Env) {
	t.Helper()
	err := e.Mounter.Glusterfs(ctx, e.Missing, e.Dir(t), mount.Flags{})
	if !volume.Is(err, volume.NotFound) {
		t.Errorf("got %v (%v); want NotFound", err, volume.KindOf(err))
	}
	t.Log(err)
}

func testNoTime(ctx context.Context, t *testing.T, e Env) {
	t.Helper()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := e.Mounter.Glusterfs(ended, e.Source, e.Dir(t), mount.Flags{}); !volume.Is(err, volume.Unavailable) {
		t.Errorf("mount: got %v; want Unavailable", err)
	}
	if err := e.Mounter.Bind(ended, e.Dir(t), e.Dir(t), false); !volume.Is(err, volume.Unavailable) {
		t.Errorf("bind: got %v; want Unavailable", err)
	}
}

func testBind(ctx context.Context, t *testing.T, e Env) {
	t.Helper()
	source := mounted(ctx, t, e)
	for _, readOnly := range []bool{false, true} {
		target := e.Dir(t)
		if err := e.Mounter.Bind(ctx, source, target, readOnly); err != nil {
			t.Fatal(err)
		}
		if m := at(ctx, t, e, target); m.ReadOnly != readOnly || m.Device != at(ctx, t, e, source).Device {
			t.Errorf("got %+v; want read-only %v and the device of %s", m, readOnly, source)
		}
		unmount(ctx, t, e, target)
	}
	if _, err := e.Mounter.Usage(ctx, source); err != nil {
		t.Errorf("the end of the bind mounts hurt the mount: %v", err)
	}
	unmount(ctx, t, e, source)
}

func testStale(ctx context.Context, t *testing.T, e Env) {
	t.Helper()
	target := mounted(ctx, t, e)
	e.KillClient(t, target)
	if _, err := e.Mounter.Usage(ctx, target); !errors.Is(err, mount.ErrStale) || !volume.Is(err, volume.Unavailable) {
		t.Errorf("got %v; want ErrStale, Unavailable", err)
	}
	at(ctx, t, e, target) // it can still be told what it was
	unmount(ctx, t, e, target)
	if err := e.Mounter.Glusterfs(ctx, e.Source, target, mount.Flags{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Mounter.Usage(ctx, target); err != nil {
		t.Errorf("mounted anew: %v", err)
	}
	unmount(ctx, t, e, target)
}

func testStaleInUse(ctx context.Context, t *testing.T, e Env) {
	t.Helper()
	target := mounted(ctx, t, e)
	release := e.Hold(t, target)
	defer release()
	e.KillClient(t, target)
	unmount(ctx, t, e, target)
}

func testInUse(ctx context.Context, t *testing.T, e Env) {
	t.Helper()
	target := mounted(ctx, t, e)
	release := e.Hold(t, target)
	if err := e.Mounter.Unmount(ctx, target); !volume.Is(err, volume.Busy) {
		t.Errorf("got %v; want Busy", err)
	}
	if _, err := e.Mounter.Usage(ctx, target); err != nil {
		t.Errorf("a refused unmount hurt the mount: %v", err)
	}
	release()
	unmount(ctx, t, e, target)
}

func testStacked(ctx context.Context, t *testing.T, e Env) {
	t.Helper()
	lower := mounted(ctx, t, e)
	other := mounted(ctx, t, e)
	if err := e.Mounter.Bind(ctx, other, lower, true); err != nil {
		t.Fatal(err)
	}
	unmount(ctx, t, e, lower)
	if m := at(ctx, t, e, lower); m.ReadOnly {
		t.Errorf("the topmost mount was not the one to go: %+v", m)
	}
	unmount(ctx, t, e, lower)
	unmount(ctx, t, e, other)
}

func testTwice(ctx context.Context, t *testing.T, e Env) {
	t.Helper()
	target := mounted(ctx, t, e)
	before := at(ctx, t, e, target)
	for _, src := range []mount.Source{e.Source, e.Missing} {
		if err := e.Mounter.Glusterfs(ctx, src, target, mount.Flags{}); !volume.Is(err, volume.Exists) {
			t.Errorf("%s: got %v; want Exists", src.Volume, err)
		}
	}
	if after := at(ctx, t, e, target); after != before {
		t.Errorf("got %+v; want %+v as before", after, before)
	}
	unmount(ctx, t, e, target)
}
