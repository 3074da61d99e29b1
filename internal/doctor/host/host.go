// Package host owns how the doctor reads one machine and how it changes it: files
// below a root, programs, the clock, and steps that can be shown before they are
// taken and taken back after.
//
// It refuses to know what is wrong with a machine, and why a step is taken: the
// checks do.
package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host is one machine. Real makes the one that this process runs on; tests give
// a directory as its root and answers of their own. Paths are absolute, as the
// machine itself knows them.
type Host struct {
	// Name is what findings call the machine.
	Name string
	// Root is where the machine's / is.
	Root string
	// Run starts a program; see Runner.
	Run Runner
	// Now is the machine's time.
	Now func() time.Time
	// Probe are directories in which checks may make files, for as long as they look.
	Probe []string
	// Synchronised is the kernel's word on whether something keeps the clock right.
	Synchronised func() (bool, error)
	// Dial makes a TCP connection to host:port from the machine, and ends it.
	Dial func(ctx context.Context, address string) error
}

// Runner starts a program without a shell and returns what it wrote to its
// standard output. An error says what the program wrote to its standard error; it
// is or wraps exec.ErrNotFound where there is no such program. The program ends with ctx.
type Runner func(ctx context.Context, argv ...string) ([]byte, error)

// Limits on what is read, so that no file and no program exhausts the memory of
// a machine that may be in trouble already.
const (
	maxFile   = 16 << 20
	maxOutput = 16 << 20
	// patience is how long the pipes of a program that was ended may stay open.
	patience = 2 * time.Second
)

// Real returns the machine that this process runs on.
func Real() (*Host, error) {
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read the host's name: %w", err)
	}
	return &Host{Name: name, Root: "/", Run: run, Now: time.Now, Synchronised: synchronised, Dial: dial}, nil
}

func dial(ctx context.Context, address string) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err // it names the address
	}
	return c.Close()
}

// synchronised asks the kernel whether its clock is kept right.
func synchronised() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, fmt.Errorf("ask the kernel for the state of its clock: %w", err)
	}
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, nil
}

// searchPath finds the programs of administrators also where the caller's PATH does not.
var searchPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// limited keeps what is written to it up to a limit, and forgets the rest.
type limited struct {
	bytes.Buffer
	full bool
}

func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.Len(); len(p) > room {
		l.full = true
		l.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return l.Buffer.Write(p)
}

func run(ctx context.Context, argv ...string) ([]byte, error) {
	file := argv[0]
	if !strings.Contains(file, "/") {
		i := slices.IndexFunc(searchPath, func(dir string) bool {
			info, err := os.Stat(filepath.Join(dir, argv[0]))
			return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
		})
		if i < 0 {
			return nil, &exec.Error{Name: argv[0], Err: exec.ErrNotFound}
		}
		file = filepath.Join(searchPath[i], argv[0])
	}
	cmd := exec.CommandContext(ctx, file, argv[1:]...)
	cmd.Env = []string{"PATH=" + strings.Join(searchPath, ":"), "LC_ALL=C"}
	cmd.WaitDelay = patience
	var out, errs limited
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", argv[0], context.Cause(ctx))
	}
	if err != nil {
		return out.Bytes(), fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, oneLine(errs.String()))
	}
	if out.full {
		return nil, fmt.Errorf("%s: wrote more than %d bytes", argv[0], maxOutput)
	}
	return out.Bytes(), nil
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	return s
}

// Missing reports whether an error of Host.Run says that there is no such program.
func Missing(err error) bool { return errors.Is(err, exec.ErrNotFound) }

// path returns where this process sees a path of the machine.
func (h *Host) path(path string) string { return filepath.Join(h.Root, path) }

// ReadFile returns what a file holds. One that is longer than any that the doctor
// has a use for is an error.
func (h *Host) ReadFile(path string) ([]byte, error) {
	f, err := os.Open(h.path(path))
	if err != nil {
		return nil, h.error(path, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, h.error(path, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: longer than %d bytes", path, maxFile)
	}
	return text, nil
}

// Tail returns the last so many bytes of a file, for logs.
func (h *Host) Tail(path string, most int64) ([]byte, error) {
	f, err := os.Open(h.path(path))
	if err != nil {
		return nil, h.error(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, h.error(path, err)
	}
	if from := info.Size() - most; from > 0 {
		if _, err := f.Seek(from, io.SeekStart); err != nil {
			return nil, h.error(path, err)
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, h.error(path, err)
	}
	return text, nil
}

// ReadString returns what a file holds, without space around it.
func (h *Host) ReadString(path string) (string, error) {
	text, err := h.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}

// Exists reports whether there is something at a path. What cannot be looked at
// is an error, not an absence.
func (h *Host) Exists(path string) (bool, error) {
	_, err := os.Stat(h.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, h.error(path, err)
}

// Stat describes what is at a path.
func (h *Host) Stat(path string) (fs.FileInfo, error) {
	info, err := os.Stat(h.path(path))
	return info, h.error(path, err)
}

// List returns the names in a directory in order; none where there is no such directory.
func (h *Host) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(h.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, h.error(dir, err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Readlink returns where a symbolic link points.
func (h *Host) Readlink(path string) (string, error) {
	to, err := os.Readlink(h.path(path))
	return to, h.error(path, err)
}

// error names a path as the machine knows it.
func (h *Host) error(path string, err error) error {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: p.Op, Path: path, Err: p.Err}
	}
	return fmt.Errorf("%s: %w", path, err)
}
