package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// facts reads what the kernel says of the host. proc is /proc (tests put
// another tree there).
type facts struct{ proc string }

// memory returns MemTotal and MemAvailable of /proc/meminfo, in bytes.
func (f facts) memory() (total, available int64, err error) {
	data, err := os.ReadFile(filepath.Join(f.proc, "meminfo"))
	if err != nil {
		return 0, 0, err
	}
	found := map[string]int64{}
	for line := range strings.Lines(string(data)) {
		name, rest, ok := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) != 2 || fields[1] != "kB" {
			continue
		}
		if kib, err := strconv.ParseInt(fields[0], 10, 64); err == nil && kib >= 0 && kib < 1<<50 {
			found[name] = kib << 10
		}
	}
	total, okTotal := found["MemTotal"]
	available, okAvailable := found["MemAvailable"]
	if !okTotal || !okAvailable {
		return 0, 0, errors.New("meminfo lacks MemTotal or MemAvailable")
	}
	return total, available, nil
}

// unknownPressure is what memoryPressure returns where the kernel does not say.
const unknownPressure = -1

// memoryPressure returns "some avg10" of /proc/pressure/memory, in percent.
// Kernels without pressure stall information are common and no problem.
func (f facts) memoryPressure() float64 {
	data, err := os.ReadFile(filepath.Join(f.proc, "pressure", "memory"))
	if err != nil {
		return unknownPressure
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "some" {
			continue
		}
		value, ok := strings.CutPrefix(fields[1], "avg10=")
		if p, err := strconv.ParseFloat(value, 64); ok && err == nil && p >= 0 && p <= 100 {
			return p
		}
	}
	return unknownPressure
}

// maxLoad is more than any machine has, and what is above it no load.
const maxLoad = 1e6

// load returns the load average of the last minute (/proc/loadavg), nil where it
// does not read.
func (f facts) load() *float64 {
	data, err := os.ReadFile(filepath.Join(f.proc, "loadavg"))
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(data), " ")
	l, err := strconv.ParseFloat(first, 64)
	if err != nil || math.IsNaN(l) || l < 0 || l > maxLoad {
		return nil
	}
	return &l
}

// brickCommand is the name of the processes that serve bricks.
const brickCommand = "glusterfsd"

// brickProcesses counts the brick processes and their resident memory in bytes.
func (f facts) brickProcesses() (count int, resident int64, err error) {
	dir, err := os.Open(f.proc)
	if err != nil {
		return 0, 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0, 0, err
	}
	page := int64(os.Getpagesize())
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(f.proc, name, "comm"))
		if err != nil || string(bytes.TrimSuffix(comm, []byte("\n"))) != brickCommand {
			continue // another program, or one that has just ended
		}
		count++
		statm, err := os.ReadFile(filepath.Join(f.proc, name, "statm"))
		if err != nil {
			continue
		}
		scan := bufio.NewScanner(bytes.NewReader(statm))
		scan.Split(bufio.ScanWords)
		scan.Scan() // the first word is the whole address space
		if scan.Scan() {
			if pages, err := strconv.ParseInt(scan.Text(), 10, 64); err == nil {
				resident += pages * page
			}
		}
	}
	return count, resident, nil
}

// clockSynchronised returns the kernel's word on whether something keeps the
// clock right. It changes nothing (modes is zero), so it needs no privilege.
func clockSynchronised() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, fmt.Errorf("adjtimex: %w", err)
	}
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, nil
}
