//go:build linux

// Command worker is the first process of a worker node of the lab's Kubernetes: it
// makes a machine of its own out of a few namespaces of the host, then sees to it
// that no dead process stays.
//
// It is started in its own PID, mount and UTS namespaces. Inside, /var/lib, /var/log
// and /run are the worker's own, so that kubelet and containerd run with the paths
// that they have everywhere, beside those of the next worker. All of it, mounts and
// processes, ends with this process. It knows nothing of Kubernetes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ready is written once the worker is as it should be.
const ready = "/run/worker-ready"

// tunables are settings of the host's kernel that kubelet changes where they are
// not what it wants. On a host with other things to do it shall find them so, and
// change nothing.
var tunables = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

func main() {
	name := flag.String("hostname", "", "the worker's `NAME`")
	dir := flag.String("dir", "", "`DIRECTORY` that holds what is the worker's own")
	keep := flag.String("keep", "", "`DIRECTORY` below /var/lib that stays the host's")
	flag.Parse()
	if err := build(*name, *dir, *keep); err != nil {
		fmt.Fprintf(os.Stderr, "worker %s: %v\n", *name, err)
		os.Exit(1)
	}
	reap()
}

func build(name, dir, keep string) error {
	if os.Getpid() != 1 {
		return errors.New("not the first process of a PID namespace")
	}
	if name == "" || !filepath.IsAbs(dir) || filepath.Dir(keep) != "/var/lib" {
		return fmt.Errorf("--hostname %q --dir %q --keep %q: want a name, an absolute path, a directory in /var/lib", name, dir, keep)
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	// What happens here must not reach the host; what the host unmounts goes here too.
	if err := mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := forgetClients(); err != nil {
		return err
	}
	if err := own(dir, keep); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := coverTunables(); err != nil {
		return err
	}
	// Pods that mount volumes for others (CSI drivers) need it.
	if err := mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return err
	}
	return os.WriteFile(ready, []byte(name+"\n"), 0o644)
}

func mount(source, target, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		return fmt.Errorf("mount %q on %s (type %q, flags %#x): %w", source, target, fstype, flags, err)
	}
	return nil
}

// forgetClients lets go of the FUSE mounts that the host had at this moment: held
// here, their processes would outlive the host's umount.
func forgetClients() error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		left, right, _ := strings.Cut(line, " - ")
		fields := strings.Fields(left)
		if len(fields) < 5 || !strings.HasPrefix(right, "fuse") {
			continue
		}
		// One with blanks in its path is written escaped and stays.
		if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", fields[4], err)
		}
	}
	return nil
}

// own lays the worker's directories over the host's. The directory that is kept is
// bound into the new /var/lib first, since it holds dir.
func own(dir, keep string) error {
	lib, log := filepath.Join(dir, "var-lib"), filepath.Join(dir, "var-log")
	kept := filepath.Join(lib, filepath.Base(keep))
	for _, d := range []string{kept, filepath.Join(lib, "kubelet"), log} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return errors.Join(
		mount(keep, kept, "", unix.MS_BIND, ""),
		mount(log, "/var/log", "", unix.MS_BIND, ""),
		mount(lib, "/var/lib", "", unix.MS_BIND|unix.MS_REC, ""),
		mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"),
		os.MkdirAll("/run/lock", 0o1777),
	)
}

func coverTunables() error {
	for name, value := range tunables {
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); errors.Is(err, os.ErrNotExist) {
			continue
		}
		cover := filepath.Join("/run/worker-sysctl", name)
		if err := os.MkdirAll(filepath.Dir(cover), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(cover, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := mount(cover, target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

// reap takes leave of every process that lost its parent, for ever.
func reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	for range children {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
	}
}
