package mark

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// marked returns a volume as Gluster has it, with those marks.
func marked(m Volume) gluster.Volume {
	v := gluster.Volume{Name: m.Handle.Name, Options: map[string]string{"nfs.disable": "on"}, Bricks: make([]gluster.Brick, len(m.Layout))}
	for _, o := range m.Options() {
		v.Options[o.Key] = o.Value
	}
	return v
}

func sample() Volume {
	return Volume{
		Handle: volume.Handle{Backend: volume.Plain, Pool: "lab", Name: "pvc-1"}, Size: 3 * volume.GiB,
		Type: volume.Type{Durability: volume.Replicate, Replicas: 3, Arbiters: 1}, Fingerprint: "0123456789abcdef", Class: "fedcba9876543210", GID: 2001,
		Enforce: true, OnDelete: volume.ArchiveData, Created: time.Unix(1700000000, 0).UTC(),
		Layout: []brick.Place{{Node: "n1", Root: "root1"}, {Node: "n2", Root: "root2"}, {Node: "n3", Root: "root1"}},
	}
}

func TestMarksReadBack(t *testing.T) {
	want := sample()
	for _, o := range want.Options() {
		if strings.ContainsAny(o.Key+o.Value, " \n") || o.Value == "" || !strings.HasPrefix(o.Key, volume.MarkPrefix) {
			t.Errorf("option %q cannot be set", o)
		}
	}
	got, ok, err := Read(marked(want))
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, ok, err := Read(gluster.Volume{Name: "foreign", Options: map[string]string{"auth.allow": "*"}}); ok || err != nil {
		t.Errorf("a volume without marks: %v, %v", ok, err)
	}
}

func TestMarksChangedByHandAreNamed(t *testing.T) {
	for key, value := range map[string]string{
		Handle: "pvc-1", Size: "0", Type: "replicate:2", GID: "-1", Layout: "n1/root1", Created: "yesterday",
	} {
		v := marked(sample())
		v.Options[key] = value
		_, ok, err := Read(v)
		if ok || !volume.Is(err, volume.Internal) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s=%s: %v, %v; want an error that names it", key, value, ok, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, o := range sample().Options() {
		f.Add(o.Key, o.Value)
	}
	f.Add(Size, "9223372036854775807")
	f.Add(Layout, "a/b/c,,/")
	f.Fuzz(func(t *testing.T, key, value string) {
		v := marked(sample())
		v.Options[key] = value
		m, ok, err := Read(v)
		if err == nil && ok && (m.Size <= 0 || m.Size > volume.MaxSize || m.Type.Bricks() != len(m.Layout)) {
			t.Errorf("%s=%q was read as %+v", key, value, m)
		}
	})
}
