//go:build lab

package brick

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// fill writes MiB after MiB to a file until an error, and stops after most of them.
func fill(t *testing.T, path string, most int) (written int, err error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer f.Close()
	block := make([]byte, 1<<20)
	for written = range most {
		if _, err = f.Write(block); err == nil {
			err = f.Sync()
		}
		if err != nil {
			return written, err
		}
	}
	return most, nil
}

func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

func TestTheLimitIsEnforced(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	neighbour := r.mustMake(request("v2", 10*volume.MiB))
	var df unix.Statfs_t
	must(t, unix.Statfs(b.Path, &df))
	if size := int64(df.Blocks) * df.Bsize; size != int64(10*volume.MiB) {
		t.Errorf("df shows %d", size)
	}
	file := filepath.Join(b.Path, "file")
	if n, err := fill(t, file, 11); !full(err) || n < 9 {
		t.Errorf("%d MiB were written, then %v", n, err)
	}
	if got := r.bricks()[0]; got.Used < 9*volume.MiB || got.Used > 10*volume.MiB || got.UsedInodes != 2 {
		t.Errorf("used: %d, %d inodes", got.Used, got.UsedInodes)
	}
	if n, err := fill(t, filepath.Join(neighbour.Path, "file"), 9); err != nil {
		t.Errorf("the neighbour got %d MiB, then %v", n, err)
	}
	_, err := r.host.SetQuota(t.Context(), b.Ref, Quota{Bytes: 20 * volume.MiB})
	must(t, err)
	if n, err := fill(t, file, 9); err != nil {
		t.Errorf("after it was raised: %d MiB, then %v", n, err)
	}
	r.mustRemove("v1", ToTrash)
	r.mustEmpty()
	r.check()
}

func TestTheInodeLimitIsEnforced(t *testing.T) {
	r := newRig(t)
	req := request("v1", 10*volume.MiB)
	req.Quota.Inodes = 10
	b := r.mustMake(req)
	var err error
	for i := range 9 {
		writeFile(t, 0, b.Path, string(rune('a'+i)))
	}
	if err = os.WriteFile(filepath.Join(b.Path, "z"), nil, 0o600); !full(err) {
		t.Errorf("the eleventh inode: %v", err)
	}
}

func TestARepairedBrickIsLimitedAgain(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	wipe(t, b.Path)
	if _, err := fill(t, filepath.Join(b.Path, "dir", "two"), 12); err != nil {
		t.Fatalf("without a limit: %v", err)
	}
	want := []Expectation{{Ref: b.Ref, Quota: Quota{Bytes: 20 * volume.MiB}}}
	_, err := r.host.Repair(t.Context(), want)
	must(t, err)
	// XFS allocates ahead of a growing file, so how much an old one still takes varies.
	if n, err := fill(t, filepath.Join(b.Path, "dir", "new"), 12); !full(err) || n > 8 {
		t.Errorf("%d MiB were written, then %v", n, err)
	}
	if got := r.bricks()[0]; got.Used < 12*volume.MiB || got.Problem != "" {
		t.Errorf("brick: %+v", got)
	}
}

func TestUnmountedWhileRunning(t *testing.T) {
	r := newRig(t)
	r.mustMake(request("v1", 10*volume.MiB))
	image := strings.TrimSpace(command(t, "losetup", "--noheadings", "--output=BACK-FILE", r.opened().mount.source))
	must(t, unix.Unmount(r.disk.path, unix.MNT_DETACH))
	_, err := r.host.Make(t.Context(), request("v2", 10*volume.MiB))
	wantKind(t, err, volume.Precondition)
	entries, err := os.ReadDir(r.disk.path)
	if err != nil || len(entries) > 0 {
		t.Errorf("written to the directory below the mount: %v, %v", entries, err)
	}
	other := xfsImage(t)
	command(t, "mkfs.xfs", append(mkfsOptions(newID()), other)...)
	mountImage(t, other, r.disk.path)
	_, err = r.host.Make(t.Context(), request("v2", 10*volume.MiB))
	wantKind(t, err, volume.Precondition)
	must(t, unix.Unmount(r.disk.path, 0))
	mountImage(t, image, r.disk.path)
	if got := len(r.bricks()); got != 1 {
		t.Errorf("%d bricks after it was mounted again", got)
	}
	r.mustMake(request("v2", 10*volume.MiB))
	r.check()
}

func TestMountedWithoutQuotas(t *testing.T) {
	r := newRig(t)
	r.mustMake(request("v1", 10*volume.MiB))
	must(t, r.host.Close())
	source := r.opened().mount.source
	must(t, r.host.Close())
	image := strings.TrimSpace(command(t, "losetup", "--noheadings", "--output=BACK-FILE", source))
	must(t, unix.Unmount(r.disk.path, 0))
	command(t, "mount", "-o", "loop,noatime", image, r.disk.path)
	_, err := r.host.Make(t.Context(), request("v2", 10*volume.MiB))
	wantKind(t, err, volume.Precondition)
	s := r.host.States(t.Context())[0]
	for _, text := range []string{err.Error(), s.Problem} {
		if !strings.Contains(text, "prjquota") {
			t.Errorf("%q does not say prjquota", text)
		}
	}
	if s.Quota || s.Total == 0 {
		t.Errorf("state: %+v", s)
	}
	if got := r.bricks(); len(got) != 1 || got[0].Problem == "" {
		t.Errorf("bricks: %+v", got)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	must(t, os.Mkdir(fresh, 0o755))
	other := xfsImage(t)
	command(t, "mkfs.xfs", append(mkfsOptions(newID()), other)...)
	command(t, "mount", "-o", "loop", other, fresh)
	t.Cleanup(func() { _ = unix.Unmount(fresh, unix.MNT_DETACH) })
	_, err = Init(t.Context(), InitOptions{Pool: testPool, Root: RootConfig{"root2", fresh}})
	wantKind(t, err, volume.Precondition)
}

func TestQuotasThroughTheBlockDevice(t *testing.T) {
	r := newRig(t)
	b := r.mustMake(request("v1", 10*volume.MiB))
	x := newXFSQuotas(r.opened().self, r.opened().mount)
	fd, err := x.get(b.ProjectID)
	must(t, err)
	x.byDevice = true
	for _, device := range []string{x.device, newXFSQuotas(nil, mount{source: "/dev/root", device: r.opened().device}).device} {
		x.device = device
		if _, err := os.Stat(device); err != nil {
			t.Logf("this guest has no %s", device)
			continue
		}
		got, err := x.get(b.ProjectID)
		must(t, err)
		if diff := cmp.Diff(fd, got, cmp.AllowUnexported(record{})); diff != "" || got.limit.Bytes != 10*volume.MiB {
			t.Errorf("%s (-descriptor +device):\n%s", device, diff)
		}
		if s, err := x.state(); err != nil || s != quotaEnforced {
			t.Errorf("state %v, %v", s, err)
		}
	}
}

// loopDevice attaches a sparse file as a disk.
func loopDevice(t *testing.T) string {
	t.Helper()
	device := strings.TrimSpace(command(t, "losetup", "--find", "--show", xfsImage(t)))
	t.Cleanup(func() {
		_ = exec.CommandContext(context.WithoutCancel(t.Context()), "losetup", "--detach", device).Run()
	})
	return device
}

func TestFormat(t *testing.T) {
	device, dir := loopDevice(t), t.TempDir()
	o := FormatOptions{
		Pool: testPool, Root: RootConfig{"root1", filepath.Join(dir, "root1")}, Device: device,
		Fstab: filepath.Join(dir, "fstab"),
	}
	done, err := Format(t.Context(), o)
	must(t, err)
	t.Cleanup(func() { _ = unix.Unmount(o.Root.Path, unix.MNT_DETACH) })
	fstab, _ := os.ReadFile(o.Fstab)
	if !done.Made || !strings.HasPrefix(done.Fstab, "UUID=") || string(fstab) != done.Fstab+"\n" {
		t.Errorf("%+v, fstab %q", done, fstab)
	}
	again, err := Format(t.Context(), o)
	if err != nil || again.Made || again.Marker != done.Marker {
		t.Errorf("again: %+v, %v", again, err)
	}
	h, err := New(Options{Pool: testPool, Roots: []RootConfig{o.Root}})
	must(t, err)
	_, err = h.Make(t.Context(), request("v1", 10*volume.MiB))
	must(t, err)
	must(t, h.Close())

	// Mounted elsewhere, not mounted: it is never erased.
	elsewhere := o
	elsewhere.Root = RootConfig{"root2", filepath.Join(dir, "root2")}
	_, err = Format(t.Context(), elsewhere)
	wantKind(t, err, volume.Precondition)
	must(t, unix.Unmount(o.Root.Path, 0))
	_, err = Format(t.Context(), o)
	wantKind(t, err, volume.Precondition)
	if !strings.Contains(err.Error(), "xfs") {
		t.Errorf("%v", err)
	}
	// The line that it printed mounts it.
	fields := strings.Fields(done.Fstab)
	command(t, "mount", "-t", fields[2], "-o", strings.Replace(fields[3], ",nofail", "", 1), device, o.Root.Path)
	h, err = New(Options{Pool: testPool, Roots: []RootConfig{o.Root}})
	must(t, err)
	defer closing(t, h)
	if bricks, err := h.Bricks(t.Context(), ""); err != nil || len(bricks) != 1 {
		t.Errorf("bricks: %+v, %v", bricks, err)
	}
}

// partition writes a DOS partition table of one partition.
func partition(t *testing.T, device string) {
	t.Helper()
	table := make([]byte, 512)
	copy(table[446:], []byte{0, 0, 2, 0, 0x83, 0, 3, 0, 0, 8, 0, 0, 0, 0, 8, 0})
	table[510], table[511] = 0x55, 0xaa
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.Write(table)
	must(t, errors.Join(err, f.Close()))
}

func TestFormatRefusesADiskThatCarriesAnything(t *testing.T) {
	for name, prepare := range map[string]func(device string){
		"swap":       func(d string) { command(t, "mkswap", d) },
		"ext4":       func(d string) { command(t, "mkfs.ext4", "-q", d) },
		"partitions": func(d string) { partition(t, d) },
	} {
		t.Run(name, func(t *testing.T) {
			device := loopDevice(t)
			prepare(device)
			before := command(t, "sh", "-c", "head -c 4M "+device+" | sha256sum")
			_, err := Format(t.Context(), FormatOptions{
				Pool: testPool, Root: RootConfig{"root1", filepath.Join(t.TempDir(), "root1")}, Device: device,
			})
			wantKind(t, err, volume.Precondition)
			if !strings.Contains(err.Error(), "carries") {
				t.Errorf("%v", err)
			}
			if after := command(t, "sh", "-c", "head -c 4M "+device+" | sha256sum"); after != before {
				t.Error("it was written to")
			}
		})
	}
}
