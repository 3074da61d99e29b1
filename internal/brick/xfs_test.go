//go:build lab

package brick

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// With the build tag lab the same tests run on real XFS file systems with
// project quotas, each in a sparse file below the directory that -scratch names.
var scratch = flag.String("scratch", "", "directory for the XFS images of the tests, inside of a guest that has XFS")

const imageSize = 2 << 30

// newDisk makes the disk of a test.
var newDisk = xfsDisk

// TestMain has the state machine run fewer times than elsewhere: in a guest each
// takes seconds. The flag itself goes before this.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "10"); err != nil {
		panic(err)
	}
	m.Run()
}

func xfsDisk(t testing.TB) disk {
	t.Helper()
	top := t.TempDir()
	path := filepath.Join(top, "root")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	image := xfsImage(t)
	command(t, "mkfs.xfs", append(mkfsOptions(newID()), image)...)
	mountImage(t, image, path)
	return disk{path: path, mounted: true, enforces: true}
}

// xfsImage makes a sparse file that is gone after the test.
func xfsImage(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(*scratch, "xfs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, imageSize); err != nil {
		t.Fatal(err)
	}
	return image
}

func mountImage(t testing.TB, image, path string) {
	t.Helper()
	command(t, "mount", "-o", "loop,"+MountOptions, image, path)
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
