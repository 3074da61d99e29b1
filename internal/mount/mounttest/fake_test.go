package mounttest_test

import (
	"testing"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mount/mounttest"
	"bricklayer.csi/internal/volume"
)

func TestFake(t *testing.T) {
	f := mounttest.NewFake()
	f.Volume = func(name string) (mount.Usage, error) {
		if name != "there" {
			return mount.Usage{}, &volume.Error{Kind: volume.NotFound, Op: "find volume", On: name}
		}
		return mount.Usage{Total: 100, Available: 50, Files: 10}, nil
	}
	mounttest.Run(t, mounttest.Env{
		Mounter: f,
		Source:  mount.Source{Servers: []string{"n1", "n2"}, Volume: "there"},
		Missing: mount.Source{Servers: []string{"n1"}, Volume: "missing"},
		Dir:     func(t *testing.T) string { t.Helper(); return t.TempDir() },
		KillClient: func(t *testing.T, _ string) {
			t.Helper()
			f.Break("there", mount.ErrStale)
		},
		Hold: func(t *testing.T, target string) func() {
			t.Helper()
			f.Use(target, true)
			return func() { f.Use(target, false) }
		},
	})
}
