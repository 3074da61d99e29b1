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

// newDisk makes the disk of a test; in a guest each takes half a second.
var newDisk = xfsDisk

const machineRuns = "10"

func xfsDisk(tb testing.TB) disk {
	tb.Helper()
	top := tb.TempDir()
	path := filepath.Join(top, "root")
	if err := os.Mkdir(path, 0o755); err != nil {
		tb.Fatal(err)
	}
	image := xfsImage(tb)
	command(tb, "mkfs.xfs", append(mkfsOptions(newID()), image)...)
	mountImage(tb, image, path)
	return disk{path: path, mounted: true, enforces: true}
}

// xfsImage makes a sparse file that is gone after the test.
func xfsImage(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp(*scratch, "xfs") //nolint:usetesting // -scratch says where there is room
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { must(tb, os.RemoveAll(dir)) })
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Truncate(image, imageSize); err != nil {
		tb.Fatal(err)
	}
	return image
}

func mountImage(tb testing.TB, image, path string) {
	tb.Helper()
	command(tb, "mount", "-o", "loop,"+MountOptions, image, path)
	tb.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

func command(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), name, args...).CombinedOutput()
	if err != nil {
		tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
