package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DiskProfile is how fast the disks of a node are, all of them together.
type DiskProfile struct {
	Name string
	// ReadIOPS, WriteIOPS, ReadBytes and WriteBytes bound a second; 0 is no bound.
	ReadIOPS, WriteIOPS, ReadBytes, WriteBytes uint64
}

// DiskProfiles are those that a lab's disks can have. Disks that are files are as
// fast as this machine's memory, and hide what a layer costs on real ones.
func DiskProfiles() []DiskProfile {
	const mib = 1 << 20
	return []DiskProfile{
		{Name: "unlimited"},
		{"ssd", 1000, 1000, 200 * mib, 100 * mib},
		{"hdd", 150, 150, 120 * mib, 100 * mib},
	}
}

// diskGroup is the control group of a node's processes.
func (p paths) diskGroup(node string) string { return p.labCgroup() + "/disks-" + node }

func (p paths) diskProfile() string { return filepath.Join(p.state(), "disks") }

// SetDisks holds the disks of all nodes back, or lets them go, while they run. It
// needs a lab with SyncDisks: what a guest writes is otherwise written by this
// machine's kernel when it likes, and nobody waits for it. What the page cache of
// this machine holds is read without a disk all the same.
func (l *Lab) SetDisks(ctx context.Context, name string) error {
	if !l.config.SyncDisks {
		return fmt.Errorf("lab %s was made without syncDisks: take it down and bring it up with lab up --sync-disks", l.config.Name)
	}
	i := slices.IndexFunc(DiskProfiles(), func(p DiskProfile) bool { return p.Name == name })
	if i < 0 {
		var names []string
		for _, p := range DiskProfiles() {
			names = append(names, p.Name)
		}
		return fmt.Errorf("disk profile %.40q: want one of %s", name, strings.Join(names, ", "))
	}
	if err := writeFile(l.paths.diskProfile(), []byte(name+"\n"), 0o644); err != nil {
		return err
	}
	var errs []error
	for _, n := range l.nodes {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		errs = append(errs, l.throttle(n))
	}
	return errors.Join(errs...)
}

// profile is the one that the lab's disks have.
func (l *Lab) profile() (DiskProfile, bool) {
	data, err := os.ReadFile(l.paths.diskProfile())
	if err != nil {
		return DiskProfile{}, false
	}
	for _, p := range DiskProfiles() {
		if p.Name == strings.TrimSpace(string(data)) {
			return p, true
		}
	}
	return DiskProfile{}, false
}

// throttle gives a node's processes the lab's disk profile. Processes that they
// start have it too.
func (l *Lab) throttle(n Node) error {
	p, ok := l.profile()
	if !ok {
		return nil
	}
	root, err := blkioRoot()
	if err != nil {
		return fmt.Errorf("node %s: disks %s: %w", n.Name, p.Name, err)
	}
	device, err := deviceUnder(l.paths.node(n.Name))
	if err != nil {
		return fmt.Errorf("node %s: disks %s: %w", n.Name, p.Name, err)
	}
	dir := filepath.Join(root, l.paths.diskGroup(n.Name))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("node %s: disks %s: %w", n.Name, p.Name, err)
	}
	for file, bound := range map[string]uint64{
		"read_iops": p.ReadIOPS, "write_iops": p.WriteIOPS, "read_bps": p.ReadBytes, "write_bps": p.WriteBytes,
	} {
		line := device + " " + strconv.FormatUint(bound, 10)
		if err := os.WriteFile(filepath.Join(dir, "blkio.throttle."+file+"_device"), []byte(line), 0o644); err != nil {
			return fmt.Errorf("node %s: disks %s: %s: %w", n.Name, p.Name, line, err)
		}
	}
	return l.joinGroup(n, dir)
}

// joinGroup moves all processes of a node into a control group. A node that does
// not run has none.
func (l *Lab) joinGroup(n Node, dir string) error {
	rec, err := loadPIDRecord(l.paths.pid(n.Name))
	if err != nil {
		return err
	}
	all, err := processes()
	if err != nil {
		return err
	}
	for _, p := range rec.members(all) {
		err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(p.pid)), 0o644)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("node %s: process %d into %s: %w", n.Name, p.pid, dir, err)
		}
	}
	return nil
}

// blkioRoot is where the block device controller of the old control groups is. The
// new ones have io.max, but not where the old ones have the controller.
func blkioRoot() (string, error) {
	v1, _ := cgroupHierarchies()
	for _, root := range v1 {
		if exists(filepath.Join(root, "blkio.throttle.write_iops_device")) || exists(filepath.Join(root, "blkio.throttle.io_serviced")) {
			return root, nil
		}
	}
	return "", errors.New("this machine has no blkio controller (control groups v1): disks cannot be held back here")
}

// deviceUnder is the block device that a path lies on, as MAJOR:MINOR.
func deviceUnder(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if unix.Major(st.Dev) == 0 {
		return "", fmt.Errorf("%s lies on no block device of its own, which could be held back", path)
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), nil
}
