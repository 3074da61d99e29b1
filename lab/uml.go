package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	umlBinary = "linux.uml"
	memoryDir = "/dev/shm"
	// nodeMemory is what a node comes to hold under tests, whatever its ceiling.
	nodeMemory = 320 << 20
)

// checkMemory refuses to boot guests into a memory file system that cannot hold
// them: a guest that finds it full dies of a bus error. Containers often have 64 MiB.
func checkMemory(nodes int) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(memoryDir, &fs); err != nil {
		return fmt.Errorf("%s: %w: mount a tmpfs there", memoryDir, err)
	}
	free, want := int64(fs.Bavail)*fs.Bsize, int64(nodes)*nodeMemory
	if fs.Type != unix.TMPFS_MAGIC || free < want {
		return fmt.Errorf("%s has %d MiB free (tmpfs: %v) and %d nodes need %d MiB: run mount -o remount,size=%dm %s",
			memoryDir, free>>20, fs.Type == unix.TMPFS_MAGIC, nodes, want>>20, 2*want>>20, memoryDir)
	}
	return nil
}

// umlArgs is the command line of a node's kernel, which is also what tells whether
// a running node is the one that the configuration wants.
func (l *Lab) umlArgs(n Node) []string {
	args := []string{
		umlBinary,
		"umid=" + n.Name,
		"uml_dir=" + l.paths.node(n.Name) + "/uml",
		fmt.Sprintf("ubda=%s,%s", l.paths.cow(n.Name), l.record.Image),
	}
	sync := ""
	if l.config.SyncDisks {
		sync = "s"
	}
	for i, d := range l.config.Disks {
		args = append(args, fmt.Sprintf("%s%s=%s", device(i), sync, l.paths.disk(n.Name, d.Name)))
	}
	return append(args,
		"root=/dev/ubda", "rw", "init=/lab-init",
		fmt.Sprintf("mem=%dM", l.config.MemoryMiB),
		// The guest's hostfs ends at this directory, and it mounts it read-only.
		"hostfs="+l.paths.share(n.Name),
		// Without gro small traffic works and bulk TCP hangs.
		"vec0:transport=tap,ifname="+tap(n.Name)+",depth=128,gro=1",
		"con=null", "con0=null,fd:1",
	)
}

// boot starts a node's kernel and records it. It does not wait for the guest.
func (l *Lab) boot(n Node) error {
	for i, d := range l.config.Disks {
		if err := ensureSparse(l.paths.disk(n.Name, d.Name), int64(d.SizeGiB)<<30); err != nil {
			return fmt.Errorf("node %s: disk %s (%s): %w", n.Name, d.Name, device(i), err)
		}
	}
	if err := os.MkdirAll(l.paths.node(n.Name)+"/uml", 0o755); err != nil {
		return err
	}
	console, err := os.Create(l.paths.console(n.Name))
	if err != nil {
		return err
	}
	defer func() { _ = console.Close() }()
	args := l.umlArgs(n)
	argv := l.hostArgv(args...)
	// Not CommandContext: the node outlives the command that boots it.
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // see above
	cmd.Stdout, cmd.Stderr = console, console
	// The guest's memory is a file in TMPDIR: on a disk it would be slow.
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + memoryDir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("node %s: start %s: %w", n.Name, umlBinary, err)
	}
	rec, err := newPIDRecord(cmd.Process.Pid, l.netns, args)
	if err == nil {
		err = rec.save(l.paths.pid(n.Name))
	}
	if err != nil {
		// A node that is not on record could never be taken down.
		return errors.Join(fmt.Errorf("node %s: record its process: %w", n.Name, err), cmd.Process.Kill(), cmd.Wait())
	}
	go func() { _ = cmd.Wait() }() // a long test run must not collect zombies
	return l.throttle(n)
}

func ensureSparse(path string, size int64) error {
	if exists(path) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// signalNode signals every process of a node.
func (l *Lab) signalNode(n Node, sig syscall.Signal) (int, error) {
	rec, err := loadPIDRecord(l.paths.pid(n.Name))
	if err != nil {
		return 0, err
	}
	all, err := processes()
	if err != nil {
		return 0, err
	}
	members := rec.members(all)
	for _, p := range members {
		if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return 0, fmt.Errorf("node %s: signal %v to process %d: %w", n.Name, sig, p.pid, err)
		}
	}
	return len(members), nil
}

// kill ends a node as a power cut does, and waits until nothing of it is left.
func (l *Lab) kill(ctx context.Context, n Node) error {
	l.hangUp(n.Name)
	err := until(ctx, 20*time.Millisecond, func() (bool, error) {
		left, err := l.signalNode(n, syscall.SIGKILL)
		return left == 0, err
	})
	if err != nil {
		return fmt.Errorf("node %s: kill: %w", n.Name, err)
	}
	return nil
}

// powerState is what the host sees of a node.
type powerState string

const (
	powerOff    powerState = "off"
	powerOn     powerState = "on"
	powerPaused powerState = "paused"
)

// power looks at a node's process; stale says that it runs with another command
// line than the configuration asks for (a disk was added).
func (l *Lab) power(n Node) (state powerState, stale bool, err error) {
	rec, err := loadPIDRecord(l.paths.pid(n.Name))
	if err != nil {
		return powerOff, false, err
	}
	p, ok := rec.leader()
	if !ok {
		return powerOff, false, nil
	}
	stale = !slices.Equal(rec.Args, l.umlArgs(n))
	if p.stopped() {
		return powerPaused, stale, nil
	}
	return powerOn, stale, nil
}

// shutDown powers a node off in good order, and pulls the plug where it does not
// answer in time.
func (l *Lab) shutDown(ctx context.Context, n Node) error {
	soft, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := l.Exec(soft, n.Name, "sh", "-c", "sync; (sleep 0.2; echo o >/proc/sysrq-trigger) >/dev/null 2>&1 &")
	if err == nil {
		err = until(soft, 50*time.Millisecond, func() (bool, error) {
			state, _, err := l.power(n)
			return state == powerOff, err
		})
	}
	if err != nil {
		l.say("%s: does not shut down (%v): cutting its power", n.Name, err)
	}
	return l.kill(ctx, n)
}
