package brick

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

const opFormat = "format a disk as a brick root"

// MountOptions are those of a brick root's file system.
//
//   - noatime: Gluster keeps no access times that anybody reads; without it
//     every read writes.
//   - inode64: inodes lie near their data on large disks (the default by now,
//     said for old kernels).
//   - prjquota: the size of a volume is a project quota. XFS takes it at mount only.
const MountOptions = "noatime,inode64,prjquota"

// FormatOptions say which disk becomes which brick root.
type FormatOptions struct {
	Pool string
	Root RootConfig
	// Device is the block device, as an absolute path.
	Device string
	// Fstab is the file to append the mount to, such as /etc/fstab; empty
	// leaves that to the administrator.
	Fstab string
}

// Formatted is what Format did.
type Formatted struct {
	Marker Marker
	// Fstab is the line that mounts the root at boot.
	Fstab string
	// Made is false where the root was there already.
	Made bool
}

// Format makes an XFS file system on an empty disk, mounts it at the root's
// path and makes it a brick root. A disk that carries anything (a file system,
// a partition table, a RAID or LVM label) or that is in use is refused, and
// nothing is written to it. A root that is there already is left as it is.
//
// It needs wipefs (util-linux) and mkfs.xfs (xfsprogs).
func Format(ctx context.Context, o FormatOptions) (Formatted, error) {
	if err := errors.Join(volume.CheckPoolName(o.Pool), checkRootName("root.name", o.Root.Name),
		checkRootPath("root.path", o.Root.Path), checkRootPath("device", o.Device)); err != nil {
		return Formatted{}, err
	}
	f := &format{FormatOptions: o, root: &root{config: o.Root}}
	if err := os.MkdirAll(o.Root.Path, 0o755); err != nil {
		return Formatted{}, f.root.failIO(opFormat, "", err)
	}
	number, err := blockDevice(o.Device)
	if err != nil {
		return Formatted{}, f.refuse(err, "name a block device, such as /dev/sdb")
	}
	if done, ok, err := f.already(number); ok || err != nil {
		return done, err
	}
	if err := f.refuseUsed(ctx, number); err != nil {
		return Formatted{}, err
	}
	return f.make(ctx)
}

type format struct {
	FormatOptions
	root *root
}

func (f *format) refuse(err error, next string) error {
	return f.root.fail(volume.Precondition, opFormat, "", fmt.Errorf("%s: %w", f.Device, err), next)
}

// blockDevice returns the device number of a block device.
func blockDevice(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, errors.New("it is not a block device")
	}
	return st.Rdev, nil
}

// already reports whether the device is mounted at the path and marked as this root.
func (f *format) already(number uint64) (Formatted, bool, error) {
	o, err := openAny(f.Root.Path)
	if err != nil {
		return Formatted{}, false, f.root.failIO(opFormat, "", err)
	}
	defer func() { _ = o.release() }()
	if !o.isMountPoint(f.Root.Path) {
		return Formatted{}, false, nil
	}
	m, err := readMarker(o.dir, o.device)
	if err == nil && o.device == number && m.Pool == f.Pool && m.Root == f.Root.Name {
		return Formatted{Marker: m, Fstab: fstabLine(f.Device, f.Root.Path)}, true, nil
	}
	return Formatted{}, false, f.refuse(fmt.Errorf("%s is mounted at %s already", o.mount.source, f.Root.Path),
		"unmount it, or name another path; a mounted empty disk becomes a root by `bricklayer agent init` without --format")
}

// refuseUsed refuses a device that somebody has open or that carries anything.
func (f *format) refuseUsed(ctx context.Context, number uint64) error {
	next := "name an empty disk; if this one may be erased, do that yourself with `wipefs --all`; " +
		"if an earlier format was interrupted, mount it at " + f.Root.Path + " and run `bricklayer agent init` without --format"
	if err := inUse(f.Device, number); err != nil {
		return f.refuse(err, next)
	}
	found, err := run(ctx, "wipefs", "--no-act", "--parsable", "--", f.Device)
	if err != nil {
		return f.refuse(fmt.Errorf("look for what it carries: %w", err), "install util-linux")
	}
	if signatures := signatureNames(found); len(signatures) > 0 {
		return f.refuse(fmt.Errorf("it carries %s", strings.Join(signatures, ", ")), next)
	}
	return nil
}

// inUse says who uses a block device, as the kernel sees it.
func inUse(path string, number uint64) error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.device == number {
			return fmt.Errorf("it is mounted at %s", m.point)
		}
	}
	sys := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(number), unix.Minor(number))
	for _, pattern := range []string{"holders/*", "*/partition"} {
		if users, _ := filepath.Glob(filepath.Join(sys, pattern)); len(users) > 0 {
			return fmt.Errorf("it has partitions or is part of another device (%s)", strings.Join(users, ", "))
		}
	}
	// O_EXCL on a block device fails where the kernel itself holds it: swap,
	// RAID, LVM, a mount in another namespace.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return errors.New("the kernel says that it is in use")
	} else if err != nil {
		return err
	}
	return unix.Close(fd)
}

// signatureNames reads what wipefs --parsable prints: a comment line, then
// OFFSET,UUID,LABEL,TYPE a signature.
func signatureNames(out []byte) []string {
	var names []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, ",")
		names = append(names, fmt.Sprintf("a signature of %s at %s", fields[len(fields)-1], fields[0]))
	}
	return names
}

// make makes the file system, mounts it and writes the marker. It stops short
// of the marker where something fails, and then the next call is refused by
// what it finds: nobody erases half a root.
func (f *format) make(ctx context.Context) (Formatted, error) {
	uuid := newID()
	// Without -f mkfs.xfs looks for signatures itself, once more.
	if _, err := run(ctx, "mkfs.xfs", append(mkfsOptions(uuid), f.Device)...); err != nil {
		return Formatted{}, f.refuse(err, "install xfsprogs, or see what it says")
	}
	if err := unix.Mount(f.Device, f.Root.Path, "xfs", unix.MS_NOATIME, "inode64,prjquota"); err != nil {
		return Formatted{}, f.refuse(fmt.Errorf("mount at %s: %w", f.Root.Path, err), "see the kernel log")
	}
	m, err := Init(ctx, InitOptions{Pool: f.Pool, Root: f.Root})
	if err != nil {
		return Formatted{}, err
	}
	done := Formatted{Marker: m, Fstab: fstabLine("UUID="+uuid, f.Root.Path), Made: true}
	if f.Fstab != "" {
		if err := appendLine(f.Fstab, done.Fstab); err != nil {
			return done, f.root.fail(volume.KindOf(err), opFormat, "", err, "add this line by hand: "+done.Fstab)
		}
	}
	return done, nil
}

// mkfsOptions are the file system's. Of what was tried for bricks (4,000 files
// with Gluster's attributes and links, Linux 6.1, KiB written and used):
// defaults 23,860; directory blocks of 8 or 16 KiB 1 to 3 % more, no faster;
// inodes of 1,024 bytes 17 % more, since Gluster's attributes fit into 512;
// without reflink or finobt the same. So little is turned:
func mkfsOptions(uuid string) []string {
	return []string{
		"-q",
		// No discard of the whole disk first: slow on some, and it would make a
		// sparse disk's image dense or wait on a thin one. fstrim does it later.
		"-K",
		// crc: damage is seen. finobt: creating files stays quick in a full file
		// system. reflink: copies of a brick cost its files, not its bytes; it
		// keeps back 0.6 % of the space. uuid: for the fstab line.
		"-m", "crc=1,finobt=1,reflink=1,uuid=" + uuid,
		// Room for Gluster's attributes inside of the inode; 1,024 gains nothing.
		"-i", "size=512",
		// The stripe is left to mkfs, which asks the disk: a plain one has none.
	}
}

// fstabLine mounts the root at boot. A missing disk does not stop the boot
// (nofail): its root is refused for want of its marker, the others serve.
func fstabLine(source, path string) string {
	return fmt.Sprintf("%s %s xfs %s,nofail 0 0", source, escape(path), MountOptions)
}

// escape writes a path as fstab(5) wants it.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`).Replace(path)
}

// appendLine adds a line to the end of a file, and nothing where it is there already.
func appendLine(name, line string) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	var was bytes.Buffer
	if _, err := was.ReadFrom(f); err != nil {
		return err
	}
	text := was.String()
	for have := range strings.Lines(text) {
		if strings.TrimSpace(have) == line {
			return nil
		}
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		line = "\n" + line
	}
	if _, err := f.WriteString(line + "\n"); err != nil {
		return err
	}
	return f.Sync()
}

// run runs a tool and returns its output; what it printed is in the error.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, args...)
	var out, complaint bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaint
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", c.String(), err, strings.TrimSpace(complaint.String()))
	}
	return out.Bytes(), nil
}
