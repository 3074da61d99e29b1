package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bricklayer.csi/bench/host"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// fakeVolumes makes volumes on three roots.
type fakeVolumes struct {
	root                 string
	there                map[volume.Handle]bool
	createErr, deleteErr error
}

func (f *fakeVolumes) Spec(name string, size volume.SizeRange, parameters map[string]string) (volume.Spec, error) {
	p, err := volume.ParseParameters(parameters)
	if err != nil {
		return volume.Spec{}, err
	}
	p.Pool = "lab"
	return volume.NewSpec(name, size, p)
}

func (f *fakeVolumes) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	f.there[spec.Handle()] = true
	if f.createErr != nil {
		return volume.Volume{}, f.createErr
	}
	return f.Get(ctx, spec.Handle())
}

func (f *fakeVolumes) Get(_ context.Context, h volume.Handle) (volume.Volume, error) {
	if !f.there[h] {
		return volume.Volume{}, &volume.Error{Kind: volume.NotFound, Op: "get volume", On: h.String()}
	}
	typ, err := volume.ParseType("replicate:3")
	v := volume.Volume{Handle: h, Size: volume.GiB, Type: typ, Servers: []string{"10.0.0.1"}}
	for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
		v.Bricks = append(v.Bricks, a+":"+f.root+"/"+a+"/volumes/"+h.Name+"/brick")
	}
	return v, err
}

func (f *fakeVolumes) Delete(_ context.Context, h volume.Handle) error {
	if f.deleteErr == nil {
		delete(f.there, h)
	}
	return f.deleteErr
}

// fakeMounter mounts nothing and remembers what.
type fakeMounter struct {
	mount.Mounter
	at                  map[string]string
	mountErr, umountErr error
}

func (m *fakeMounter) Glusterfs(_ context.Context, src mount.Source, target string, _ mount.Flags) error {
	if m.mountErr == nil {
		m.at[target] = src.Volume
	}
	return m.mountErr
}

func (m *fakeMounter) Unmount(_ context.Context, target string) error {
	if m.umountErr == nil {
		delete(m.at, target)
	}
	return m.umountErr
}

func newVolumes(t *testing.T) (*fakeVolumes, *fakeMounter, Mounts) {
	t.Helper()
	m := &fakeMounter{at: map[string]string{}}
	return &fakeVolumes{root: t.TempDir(), there: map[volume.Handle]bool{}}, m, Mounts{Mounter: m, Dir: t.TempDir()}
}

func ofClass(t *testing.T, v *fakeVolumes, m Mounts) *Volume {
	t.Helper()
	target, err := OfClass("plain", "bench-1", map[string]string{"lvm": "false"}, volume.GiB, v, m)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestOfClass(t *testing.T) {
	v, m, mounts := newVolumes(t)
	target := ofClass(t, v, mounts)
	place, err := target.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.at) != 1 || len(v.there) != 1 || !strings.Contains(place.Facts["bricks"], "10.0.0.3") || place.Facts["parameter lvm"] != "false" {
		t.Errorf("%v, %v, %v", m.at, v.there, place.Facts)
	}
	m.umountErr = errors.New("busy")
	if err := target.Close(t.Context()); err == nil || len(v.there) != 1 {
		t.Errorf("%v: a volume that is mounted still was deleted", err)
	}
	m.umountErr = nil
	for range 2 {
		if err := target.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(place.Dir); !errors.Is(err, os.ErrNotExist) || len(m.at)+len(v.there) != 0 {
		t.Errorf("left: %v, %v, %v", err, m.at, v.there)
	}
}

// TestOfClassFails: what a create that failed left is deleted too.
func TestOfClassFails(t *testing.T) {
	for name, set := range map[string]func(*fakeVolumes, *fakeMounter){
		"create": func(v *fakeVolumes, _ *fakeMounter) { v.createErr = errors.New("no") },
		"mount":  func(_ *fakeVolumes, m *fakeMounter) { m.mountErr = errors.New("no") },
	} {
		v, m, mounts := newVolumes(t)
		set(v, m)
		target := ofClass(t, v, mounts)
		if _, err := target.Open(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := target.Close(t.Context()); err != nil || len(v.there) != 0 {
			t.Errorf("%s: left %v (%v)", name, v.there, err)
		}
	}
	v, _, mounts := newVolumes(t)
	v.deleteErr = errors.New("no")
	target := ofClass(t, v, mounts)
	if _, err := target.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := target.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "bricklayer volume delete") {
		t.Errorf("%v, want to be told what to do", err)
	}
}

func TestExisting(t *testing.T) {
	v, m, mounts := newVolumes(t)
	h := volume.Handle{Backend: volume.Plain, Pool: "lab", Name: "theirs"}
	target, err := Existing("old", h, v, mounts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Open(t.Context()); volume.KindOf(err) != volume.NotFound {
		t.Errorf("%v, want not found", err)
	}
	v.there[h] = true
	if _, err := target.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := target.Close(t.Context()); err != nil || !v.there[h] || len(m.at) != 0 {
		t.Errorf("%v; there %v, mounted %v: want it unmounted and left alone", err, v.there, m.at)
	}
}

func TestByHand(t *testing.T) {
	v, m, mounts := newVolumes(t)
	bin := t.TempDir()
	said := filepath.Join(bin, "said")
	script := "#!/bin/sh\necho \"$*\" >>" + said + "\ncase \"$*\" in *list) [ -e " + bin + "/made ] && echo bench-1-hand; exit 0;; *create*) touch " + bin + "/made;; *delete*) rm " + bin + "/made;; esac\n"
	if err := os.WriteFile(filepath.Join(bin, "gluster"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	nodes := map[string]host.Host{}
	for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
		nodes[a] = host.Host{Name: a, Prefix: []string{"env", "PATH=" + bin + ":/usr/bin:/bin"}}
	}
	like := ofClass(t, v, mounts)
	target, err := ByHand("hand", "bench-1", like, nodes, mounts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "made like plain") {
		t.Errorf("%v, want to be told that there is nothing to be like", err)
	}
	if err := target.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := like.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	place, err := target.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.at[place.Dir] != "bench-1-hand" {
		t.Errorf("mounted %v", m.at)
	}
	if _, err := os.Stat(v.root + "/10.0.0.2/bench-1-hand/brick"); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := target.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := filepath.Glob(v.root + "/*/bench-1-hand"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	data, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"volume create bench-1-hand replica 3 10.0.0.1:" + v.root + "/10.0.0.1/bench-1-hand/brick", "volume start bench-1-hand", "volume delete bench-1-hand"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %q in:\n%s", want, data)
		}
	}
	delete(nodes, "10.0.0.3")
	if _, err := target.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "no storage node") {
		t.Errorf("%v, want the brick without a node named", err)
	}
}
