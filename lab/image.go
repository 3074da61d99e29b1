package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

const (
	suite       = "bookworm"
	imageSize   = "3G"
	modulesRoot = "/usr/lib/uml/modules"
	// What mkfs, sshd and the rest are told is in rootfs files below; a change of
	// how the image is put together that those do not show needs a new number.
	imageFormat = 1
)

// guestPackages are what a storage node has, and what heketi, fio runs and a
// person looking for a fault want there.
var guestPackages = []string{
	"acl", "attr", "e2fsprogs", "fio", "fuse3", "glusterfs-client", "glusterfs-server",
	"iproute2", "iputils-ping", "jq", "kmod", "lvm2", "mount", "netbase", "openssh-server",
	"procps", "psmisc", "quota", "strace", "thin-provisioning-tools", "udev", "util-linux", "xfsprogs",
}

//go:embed guest/init.sh
var initScript []byte

// rootfsFiles are put over what the packages bring.
var rootfsFiles = map[string]string{
	"etc/lvm/lvmlocal.conf": `# No udev runs in the guest: waiting for it would never end.
activation {
	udev_sync=0
	udev_rules=0
	monitoring=0
}
devices {
	obtain_device_list_from_udev=0
}
`,
	"etc/ssh/sshd_config.d/lab.conf": `HostKey /run/sshd/host_key
AuthorizedKeysFile /run/sshd/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
SetEnv DM_DISABLE_UDEV=1
MaxSessions 200
MaxStartups 200
`,
	"etc/fstab": "",
}

// unwanted is what the packages bring and the nodes do without.
var unwanted = []string{
	"etc/ssh/ssh_host_*", // each lab brings its own
	"var/lib/glusterd/glusterd.info",
	"var/cache/apt/*", "var/lib/apt/lists/*",
	// Geo-replication is not used here, and where glusterd finds its helper, a
	// Python program, it takes over 20 seconds to start.
	"usr/lib/*/glusterfs/gsyncd",
	// Hooks for Samba, CTDB and NFS-Ganesha, none of which runs here: they fork
	// ten processes a command on every node, which is dear in a guest.
	"var/lib/glusterd/hooks/1/*/*/*",
}

// recipe is everything that the image depends on.
type recipe struct {
	kernel string // version of the modules, which the kernel must match
	mirror string
}

// key names the image: the same recipe, the same file.
func (r recipe) key() string {
	h := sha256.New()
	part := func(s string) { fmt.Fprintf(h, "%d:%s\n", len(s), s) }
	part(fmt.Sprint(imageFormat))
	part(suite)
	part(imageSize)
	part(r.kernel)
	part(r.mirror)
	part(strings.Join(guestPackages, " "))
	part(strings.Join(unwanted, " "))
	part(string(initScript))
	names := make([]string, 0, len(rootfsFiles))
	for n := range rootfsFiles {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		part(n)
		part(rootfsFiles[n])
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// findRecipe asks the host's User-Mode Linux for its version.
func findRecipe(ctx context.Context, mirror string) (recipe, error) {
	out, err := run(ctx, umlBinary, "--version")
	if err != nil {
		return recipe{}, err
	}
	version := strings.TrimSpace(string(out))
	if version == "" || strings.ContainsAny(version, "/ \n") {
		return recipe{}, fmt.Errorf("%s --version says %q: want one version number", umlBinary, version)
	}
	if !exists(filepath.Join(modulesRoot, version)) {
		return recipe{}, fmt.Errorf("%s has no modules for kernel %s: reinstall the package user-mode-linux", modulesRoot, version)
	}
	return recipe{kernel: version, mirror: mirror}, nil
}

// ensureImage answers the path of the base image, building it if the cache has
// none of this recipe.
func ensureImage(ctx context.Context, mirror string, pr *progress) (string, error) {
	r, err := findRecipe(ctx, mirror)
	if err != nil {
		return "", err
	}
	cache := cacheDir()
	image := filepath.Join(cache, "node-"+r.key()+".img")
	if exists(image) {
		return image, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("image cache: %w", err)
	}
	unlock, err := lockFile(ctx, filepath.Join(cache, ".build.lock"), func() {
		pr.say("another command builds the image: waiting for it")
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(image) {
		return image, nil
	}
	// Under the lock nobody builds: what lies there is of builds that were killed.
	stale, _ := filepath.Glob(filepath.Join(cache, "build-*"))
	for _, dir := range stale {
		if err := removeTree(dir); err != nil {
			return "", err
		}
	}
	if err := buildImage(ctx, r, cache, image, pr); err != nil {
		return "", fmt.Errorf("build the image of the storage nodes: %w", err)
	}
	return image, nil
}

func buildImage(ctx context.Context, r recipe, cache, image string, pr *progress) (err error) {
	pr.say("building the image of the storage nodes, once: Debian %s, %d packages, kernel %s", suite, len(guestPackages), r.kernel)
	dir, err := os.MkdirTemp(cache, "build-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeTree(dir)) }()
	root, disk := filepath.Join(dir, "rootfs"), filepath.Join(dir, "disk.img")
	if err := debootstrap(ctx, r, root, pr); err != nil {
		return err
	}
	pr.say("image: kernel modules and configuration")
	if err := furnish(ctx, r, root); err != nil {
		return err
	}
	pr.say("image: writing the file system")
	if _, err := run(ctx, "mke2fs", "-q", "-t", "ext4", "-L", "bricklayer-node", "-d", root, disk, imageSize); err != nil {
		return err
	}
	if err := os.Chmod(disk, 0o444); err != nil {
		return err
	}
	if err := os.Rename(disk, image); err != nil {
		return err
	}
	pr.say("image: ready, kept as %s", image)
	return nil
}

// debootstrap unpacks the packages. It runs in mount and process namespaces of its
// own, so that whatever it mounts and starts ends with it, however it ends.
func debootstrap(ctx context.Context, r recipe, root string, pr *progress) error {
	argv := []string{
		"unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
		"mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
		"--include=" + strings.Join(guestPackages, ","),
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
		suite, root,
	}
	if r.mirror != "" {
		argv = append(argv, r.mirror)
	}
	return runShown(ctx, pr, "image", argv)
}

// furnish makes of a Debian tree a guest that our init script can boot.
func furnish(ctx context.Context, r recipe, root string) error {
	modules := filepath.Join(root, "lib/modules")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		return err
	}
	if _, err := run(ctx, "cp", "-a", filepath.Join(modulesRoot, r.kernel), modules); err != nil {
		return err
	}
	if _, err := run(ctx, "chroot", root, "depmod", r.kernel); err != nil {
		return err
	}
	for name, text := range rootfsFiles {
		if err := writeFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := writeFile(filepath.Join(root, "lab-init"), initScript, 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, "lab"), 0o755); err != nil {
		return err
	}
	// Without mtab gluster snapshots and `volume status detail` do not find the
	// device of a brick.
	if err := replaceLink("../proc/self/mounts", filepath.Join(root, "etc/mtab")); err != nil {
		return err
	}
	return removeAll(root, unwanted...)
}

func replaceLink(target, path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

func removeAll(root string, patterns ...string) error {
	for _, p := range patterns {
		names, err := filepath.Glob(filepath.Join(root, p))
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := os.RemoveAll(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeTree removes a directory in which nothing is mounted: going through a
// mount of /dev or /proc would remove the host's.
func removeTree(dir string) error {
	list, err := mounts()
	if err != nil {
		return err
	}
	if point := mountedBelow(list, dir); point != "" {
		return fmt.Errorf("%s is not removed: %s is mounted in it; unmount that first", dir, point)
	}
	return os.RemoveAll(dir)
}

func mountedBelow(list []*mountinfo.Info, dir string) string {
	for _, m := range list {
		if below(m.Mountpoint, dir) {
			return m.Mountpoint
		}
	}
	return ""
}
