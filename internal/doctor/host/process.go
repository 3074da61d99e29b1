package host

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is a running program.
type Process struct {
	PID int
	// Args are its arguments, the program's name first.
	Args []string
}

// Is reports whether this is the program of that name, also where one file is
// many programs by its first argument.
func (p Process) Is(name string) bool {
	for _, arg := range p.Args[:min(2, len(p.Args))] {
		if path.Base(arg) == name {
			return true
		}
	}
	return false
}

// Flag returns the value of a flag among the arguments, as --name=value or
// --name value, the last one if it is given twice.
func (p Process) Flag(name string) (value string, given bool) {
	for i, arg := range p.Args {
		arg, ok := strings.CutPrefix(arg, "--")
		if !ok {
			continue
		}
		if v, ok := strings.CutPrefix(arg, name+"="); ok {
			value, given = v, true
		}
		if arg == name {
			given = true
			if i+1 < len(p.Args) {
				value = p.Args[i+1]
			}
		}
	}
	return value, given
}

// Dir is the process's directory in /proc.
func (p Process) Dir() string { return "/proc/" + strconv.Itoa(p.PID) }

// Processes returns the running programs; kernel threads are left out.
func (h *Host) Processes() ([]Process, error) {
	names, err := h.List("/proc")
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, "1") {
		return nil, errors.New("/proc hides the processes of others (hidepid): run this as root")
	}
	var all []Process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		text, err := h.ReadFile("/proc/" + name + "/cmdline")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it ended
		}
		if err != nil {
			return nil, err
		}
		if args := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00"); args[0] != "" {
			all = append(all, Process{PID: pid, Args: args})
		}
	}
	return all, nil
}

// Running returns the processes of the program of that name.
func (h *Host) Running(name string) ([]Process, error) {
	all, err := h.Processes()
	var some []Process
	for _, p := range all {
		if p.Is(name) {
			some = append(some, p)
		}
	}
	return some, err
}
