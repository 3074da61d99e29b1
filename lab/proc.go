package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// process is one line of /proc: enough to tell one process from a later one of
// the same number, and to tell whose it is.
type process struct {
	pid, parent, group int
	state              byte   // as in /proc/PID/stat: R, S, T, Z, ...
	start              uint64 // ticks since boot
	name               string
}

func (p process) alive() bool { return p.state != 'Z' && p.state != 'X' }

func (p process) stopped() bool { return p.state == 'T' }

// parseStat reads /proc/PID/stat. The name is in parentheses and may hold
// anything, parentheses and spaces too, so the fields are counted from the last.
func parseStat(data []byte) (process, error) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 1 || end < open {
		return process{}, fmt.Errorf("stat line %q: no name in parentheses", data)
	}
	f := strings.Fields(string(data[end+1:]))
	if len(f) < 20 || len(f[0]) != 1 {
		return process{}, fmt.Errorf("stat line %q: %d fields after the name, want 20 or more", data, len(f))
	}
	p := process{state: f[0][0], name: string(data[open+1 : end])}
	var errs [4]error
	p.pid, errs[0] = strconv.Atoi(strings.TrimSpace(string(data[:open])))
	p.parent, errs[1] = strconv.Atoi(f[1])
	p.group, errs[2] = strconv.Atoi(f[2])
	p.start, errs[3] = strconv.ParseUint(f[19], 10, 64)
	return p, errors.Join(errs[:]...)
}

func readProcess(pid int) (process, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	return parseStat(data)
}

// processes lists every process that could be read; those that end meanwhile are
// left out.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var list []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil {
			list = append(list, p)
		}
	}
	return list, nil
}

// netnsOf is the inode of a process's network namespace, 0 where it has none any
// more.
func netnsOf(pid int) uint64 {
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return 0
	}
	ino, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(link, "net:["), "]"), 10, 64)
	if err != nil {
		return 0
	}
	return ino
}

// cmdline is a process's argument vector.
func cmdline(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

// bootID changes with each boot of the host, when process numbers and start times
// begin anew.
func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// pidRecord names a guest's first process beyond doubt: a number alone may belong
// to somebody else by the time it is signalled.
type pidRecord struct {
	PID   int      `json:"pid"`
	Start uint64   `json:"start"`
	Boot  string   `json:"boot"`
	Netns uint64   `json:"netns"` // inode of the namespace it was started in
	Args  []string `json:"args"`
}

func newPIDRecord(pid int, netns uint64, args []string) (pidRecord, error) {
	p, err := readProcess(pid)
	if err != nil {
		return pidRecord{}, err
	}
	boot, err := bootID()
	return pidRecord{PID: pid, Start: p.start, Boot: boot, Netns: netns, Args: args}, err
}

func (r pidRecord) save(path string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeFile(path, data, 0o644)
}

// loadPIDRecord answers a zero record where there is no file.
func loadPIDRecord(path string) (pidRecord, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return pidRecord{}, nil
	}
	if err != nil {
		return pidRecord{}, err
	}
	var r pidRecord
	if err := json.Unmarshal(data, &r); err != nil || r.PID < 2 {
		return pidRecord{}, fmt.Errorf("%s is damaged (%w): remove it if no linux.uml of this lab runs",
			path, errors.Join(err, fmt.Errorf("pid %d", r.PID)))
	}
	return r, nil
}

// leader finds the recorded process if it still lives.
func (r pidRecord) leader() (process, bool) {
	if r.PID == 0 || !r.thisBoot() {
		return process{}, false
	}
	p, err := readProcess(r.PID)
	if err != nil || p.start != r.Start || !p.alive() {
		return process{}, false
	}
	return p, true
}

func (r pidRecord) thisBoot() bool {
	boot, err := bootID()
	return err == nil && boot == r.Boot
}

// members finds what is left of the guest: User-Mode Linux runs each of its address
// spaces as a process of the host, in the group of the first, and those outlive a
// kill of the first. Where the leader is gone its number could be reused, so the
// members must also be in the namespace that it was started in.
func (r pidRecord) members(all []process) []process {
	if r.PID == 0 || r.Netns == 0 || !r.thisBoot() {
		return nil
	}
	var list []process
	for _, p := range all {
		if p.group != r.PID || p.start < r.Start || !p.alive() {
			continue
		}
		if p.pid == r.PID && p.start == r.Start || netnsOf(p.pid) == r.Netns {
			list = append(list, p)
		}
	}
	return list
}

// mounts returns what is mounted on this machine, in the order of mounting.
func mounts() ([]*mountinfo.Info, error) {
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return list, nil
}

// below says whether path is dir or under it.
func below(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
