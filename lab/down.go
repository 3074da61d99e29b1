package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Down removes a lab: whatever runs in its network namespace, the client mounts
// made there, its nodes, the namespace and the state directory. It works on a lab
// that was half built, was killed, or is gone already, and touches nothing else.
func Down(ctx context.Context, name string, w io.Writer) error {
	if err := CheckName(name); err != nil {
		return err
	}
	p, pr := paths{name}, newProgress(w)
	if _, err := os.Stat(stateRoot); errors.Is(err, os.ErrNotExist) && netnsInode(p.netns()) == 0 {
		pr.say("lab %s is not there", name)
		return nil
	}
	if err := os.MkdirAll(stateRoot, 0o755); err != nil {
		return err
	}
	unlock, err := lockFile(ctx, p.lock(), func() { pr.say("another command works on lab %s: waiting for it", name) })
	if err != nil {
		return err
	}
	err = down(ctx, p, pr)
	unlock()
	if err != nil {
		return fmt.Errorf("take lab %s down: %w", name, err)
	}
	_ = os.Remove(stateRoot) // goes with the last lab
	pr.say("lab %s is down", name)
	return nil
}

func down(ctx context.Context, p paths, pr *progress) error {
	inodes, err := namespaces(p)
	if err != nil {
		return err
	}
	for _, ino := range inodes {
		// Mounts first, while their bricks still answer.
		if err := endClients(ctx, p, ino, pr); err != nil {
			return err
		}
	}
	// A worker's first process is in its namespace, and takes with it all of the
	// worker: pods that have networks of their own, and every mount.
	if err := endAll(ctx, p, inodes); err != nil {
		return err
	}
	if err := removeCgroups(ctx, p.labCgroup()); err != nil {
		return err
	}
	if err := removeWorkerNetns(p); err != nil {
		return err
	}
	if err := unmountBelow(p.mnt()); err != nil {
		return err
	}
	if err := removeNetns(p.netns()); err != nil {
		return err
	}
	return removeTree(p.state())
}

// namespaces are those that the lab has or had: the one under its name, and those
// that its nodes were started in, should the name have been lost.
func namespaces(p paths) ([]uint64, error) {
	var list []uint64
	add := func(ino uint64) {
		if ino != 0 && !slices.Contains(list, ino) {
			list = append(list, ino)
		}
	}
	add(netnsInode(p.netns()))
	for _, path := range p.workerNamespaces() {
		add(netnsInode(path))
	}
	all, err := processes()
	if err != nil {
		return nil, err
	}
	records, _ := filepath.Glob(p.pid("*"))
	workers, _ := filepath.Glob(p.workerPID("*"))
	records = append(records, workers...)
	for _, path := range records {
		// The number of a namespace is reused once it is gone: it counts only where
		// a process of the record is still in it.
		if rec, err := loadPIDRecord(path); err == nil && len(rec.members(all)) > 0 {
			add(rec.Netns)
		}
	}
	// Whatever a name or a record says: what lies in the namespace of those who
	// started this command is the host's, and stays.
	if home := homeNetns(); slices.Contains(list, home) {
		return nil, fmt.Errorf("%s is the network namespace that this command was started from: remove that file, it is no lab's", p.netns())
	}
	return list, nil
}

// homeNetns is the namespace of the eldest parent that can be asked: the host's,
// also where the caller itself runs inside a lab.
func homeNetns() uint64 {
	home := netnsOf(os.Getpid())
	for _, pid := range ancestors() {
		if ino := netnsOf(pid); ino != 0 {
			home = ino
		}
	}
	return home
}

// endAll ends every process in the namespaces but the caller and its parents (a
// test that takes down the lab it runs in).
func endAll(ctx context.Context, p paths, inodes []uint64) error {
	spare := ancestors()
	var killed []process
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := until(ctx, 20*time.Millisecond, func() (bool, error) {
		all, err := processes()
		if err != nil {
			return false, err
		}
		left := 0
		for _, q := range all {
			if !q.alive() || slices.Contains(spare, q.pid) || !slices.Contains(inodes, netnsOf(q.pid)) {
				continue
			}
			left++
			if err := syscall.Kill(q.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, fmt.Errorf("kill %s (%d): %w", q.name, q.pid, err)
			}
			killed = append(killed, q)
		}
		return left == 0, nil
	})
	if err == nil {
		// A worker's first process leaves its network before it waits for its others.
		err = gone(ctx, killed)
	}
	if err != nil {
		return fmt.Errorf("end the processes of %s: %w", p.netnsName(), err)
	}
	return nil
}

// ancestors are this process and its parents, in that order.
func ancestors() []int {
	var list []int
	for pid := os.Getpid(); pid > 0 && !slices.Contains(list, pid); {
		list = append(list, pid)
		p, err := readProcess(pid)
		if err != nil {
			break
		}
		pid = p.parent
	}
	return list
}

// endClients unmounts what the lab's volumes are mounted on and ends the clients.
// Mounts are the host's, not the namespace's: which are the lab's is known by the
// FUSE process that serves them, by their place under the lab's directory, and for
// those whose process died, by their source.
func endClients(ctx context.Context, p paths, ino uint64, pr *progress) error {
	if ino == 0 {
		return unmountBelow(p.mnt())
	}
	all, err := processes()
	if err != nil {
		return err
	}
	list, err := mounts()
	if err != nil {
		return err
	}
	var clients []process
	devs := map[[2]int]bool{}
	for _, q := range all {
		if q.name != "glusterfs" || netnsOf(q.pid) != ino {
			continue
		}
		clients = append(clients, q)
		if point := lastArg(cmdline(q.pid)); point != "" {
			for _, m := range list {
				if m.Mountpoint == point && m.FSType == "fuse.glusterfs" {
					devs[[2]int{m.Major, m.Minor}] = true
				}
			}
		}
	}
	for _, q := range clients {
		if err := syscall.Kill(q.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill glusterfs (%d): %w", q.pid, err)
		}
	}
	// The last first: binds lie on what they were made of.
	for _, m := range slices.Backward(list) {
		if m.FSType != "fuse.glusterfs" || !devs[[2]int{m.Major, m.Minor}] && !below(m.Mountpoint, p.mnt()) && !dead(m, p) {
			continue
		}
		pr.say("unmounting %s (%s)", m.Mountpoint, m.Source)
		if err := detach(m.Mountpoint); err != nil {
			return err
		}
	}
	return errors.Join(unmountBelow(p.mnt()), gone(ctx, clients))
}

// gone waits until killed processes are out of the table of the living.
func gone(ctx context.Context, list []process) error {
	return until(ctx, 10*time.Millisecond, func() (bool, error) {
		for _, p := range list {
			q, err := readProcess(p.pid)
			if err == nil && q.start == p.start && q.alive() {
				return false, nil
			}
		}
		return true, nil
	})
}

// dead says whether a mount was the lab's and has lost its process. That it is of
// this lab and not of another can only be told where there is no other.
func dead(m *mountinfo.Info, p paths) bool {
	if labs, _ := filepath.Glob(filepath.Join(netnsRoot, "bricklayer-*")); len(labs) > 1 {
		return false
	}
	c, err := storedConfig(p.name)
	if err != nil {
		return false
	}
	host, _, _ := strings.Cut(m.Source, ":")
	ours := slices.ContainsFunc(c.NodeList(), func(n Node) bool { return n.Address.String() == host })
	var fs unix.Statfs_t
	return ours && errors.Is(unix.Statfs(m.Mountpoint, &fs), unix.ENOTCONN)
}

func lastArg(argv []string) string {
	if len(argv) < 2 {
		return ""
	}
	return argv[len(argv)-1]
}

func unmountBelow(dir string) error {
	list, err := mounts()
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(list) {
		if below(m.Mountpoint, dir) {
			if err := detach(m.Mountpoint); err != nil {
				return err
			}
		}
	}
	return nil
}

func detach(point string) error {
	if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", point, err)
	}
	return nil
}
