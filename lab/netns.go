package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const bridge = "br0"

// netnsInode identifies the namespace bound at path; 0 where there is none.
func netnsInode(path string) uint64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		return 0
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0
	}
	return st.Ino
}

// bindNetns makes the namespace reachable under path. from is that of a living
// process, or empty for a new one. `ip netns add` would do the same, but leaves a
// mount of its own on /run/netns that nobody removes.
func bindNetns(path, from string) error {
	if err := os.MkdirAll(netnsRoot, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if from != "" {
		return unix.Mount(from, path, "", unix.MS_BIND, "")
	}
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare network namespace: %w", err)
		}
		self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		return unix.Mount(self, path, "", unix.MS_BIND, "")
	})
}

// inNetns runs fn on a thread that is in the namespace at path.
func inNetns(path string, fn func() error) error {
	return onOwnThread(func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("enter network namespace %s: %w", path, err)
		}
		return fn()
	})
}

// onOwnThread runs fn on a thread that ends with it, so that no other goroutine
// comes to run in the namespace that fn changed to. The first thread of a process
// never ends, and what it is in counts as the process's own: it only waits.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onOwnThread(fn)
			return
		}
		done <- fn() // never unlocked: the thread ends with the goroutine
	}()
	return <-done
}

// ensureNetns makes what is missing of the namespace, and finds it again through
// a guest that still lives in it if only its name was lost.
func (l *Lab) ensureNetns() error {
	path := l.paths.netns()
	if ino := netnsInode(path); ino != 0 {
		l.netns = ino
		return nil
	}
	from := ""
	for _, n := range l.nodes {
		rec, err := loadPIDRecord(l.paths.pid(n.Name))
		if err != nil {
			return err
		}
		if p, ok := rec.leader(); ok && netnsOf(p.pid) == rec.Netns {
			from = fmt.Sprintf("/proc/%d/ns/net", p.pid)
			l.say("network namespace %s had lost its name: taken back from %s", l.paths.netnsName(), n.Name)
			break
		}
	}
	if err := bindNetns(path, from); err != nil {
		return fmt.Errorf("make network namespace %s: %w", path, err)
	}
	if l.netns = netnsInode(path); l.netns == 0 {
		return fmt.Errorf("network namespace %s: mounted, but is not one", path)
	}
	return nil
}

type link struct {
	Name   string   `json:"ifname"`
	Master string   `json:"master"`
	Flags  []string `json:"flags"`
}

func (k link) up() bool { return slices.Contains(k.Flags, "UP") }

// ensureLinks makes what is missing of the bridge and the taps.
func (l *Lab) ensureLinks(ctx context.Context) error {
	out, err := l.Host(ctx, "ip", "-json", "link", "show")
	if err != nil {
		return err
	}
	var have []link
	if err := json.Unmarshal(out, &have); err != nil {
		return fmt.Errorf("ip -json link show: %w", err)
	}
	batch := linkBatch(have, l.nodes, l.config.Network, l.config.Gateway().String())
	if batch == "" {
		return nil
	}
	l.say("network: bridge %s, %d taps in namespace %s", bridge, len(l.nodes), l.paths.netnsName())
	if _, err := runInput(ctx, batch, l.hostArgv("ip", "-batch", "-")...); err != nil {
		return fmt.Errorf("set up the lab's network: %w", err)
	}
	return nil
}

// rtoMin is when a packet that was not acknowledged is sent again, at the earliest,
// in the words of ip-route(8). One in some hundreds lies in a guest's device until the
// next one wakes it; with Linux's 200 ms that was the slowest request of each second.
const rtoMin = "20ms"

// linkBatch is what `ip -batch` has to do so that the links are as wanted.
func linkBatch(have []link, nodes []Node, network, gateway string) string {
	byName := map[string]link{}
	for _, k := range have {
		byName[k.Name] = k
	}
	var b strings.Builder
	do := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if !byName["lo"].up() {
		do("link set lo up")
	}
	if _, ok := byName[bridge]; !ok {
		do("link add %s type bridge", bridge)
		do("addr add %s/24 dev %s", gateway, bridge)
	}
	if !byName[bridge].up() {
		do("link set %s up", bridge)
		do("route replace %s dev %s proto kernel scope link src %s rto_min %s", network, bridge, gateway, rtoMin)
	}
	for _, n := range nodes {
		k, ok := byName[tap(n.Name)]
		if !ok {
			do("tuntap add %s mode tap", tap(n.Name))
		}
		if k.Master != bridge || !k.up() {
			do("link set %s master %s up", tap(n.Name), bridge)
		}
	}
	return b.String()
}

func tap(node string) string { return "tap-" + node }

// removeNetns takes the name away; the namespace ends with its last process.
func removeNetns(path string) error {
	for netnsInode(path) != 0 {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount network namespace %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
