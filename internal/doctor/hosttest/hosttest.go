// Package hosttest makes machines out of directories, for tests of checks: files
// that a test writes, programs that answer what it says. It refuses to know any check.
package hosttest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bricklayer.csi/internal/doctor/host"
)

// Machine is a host whose files lie in a directory of the test's.
type Machine struct {
	*host.Host
	t testing.TB
	// Answers are what programs write, by their command lines; Failures are what
	// they complain of. A program in neither does not exist.
	Answers, Failures map[string]string
	// Ran are the command lines that were run.
	Ran []string
	mu  sync.Mutex // over Ran: checks run at once
	// Unsynchronised is the kernel's word on the clock.
	Unsynchronised bool
	// Closed are addresses, host:port, that take no connection; all others do.
	Closed []string
}

// New makes a machine with nothing on it but process 1.
func New(t testing.TB) *Machine {
	m := &Machine{t: t, Answers: map[string]string{}, Failures: map[string]string{}}
	m.Host = &host.Host{
		Name: "n1", Root: t.TempDir(), Run: m.run, Now: time.Now,
		Synchronised: func() (bool, error) { return !m.Unsynchronised, nil },
		Dial: func(_ context.Context, address string) error {
			if slices.Contains(m.Closed, address) {
				return errors.New("dial tcp " + address + ": connection refused")
			}
			return nil
		},
	}
	m.Process(1, "/sbin/init")
	m.Write("/proc/1/mountinfo", "")
	return m
}

// Write makes a file, and the directories to it.
func (m *Machine) Write(path, text string) {
	m.t.Helper()
	file := filepath.Join(m.Root, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// Read returns what a file holds.
func (m *Machine) Read(path string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.Root, path))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// Process has a program run.
func (m *Machine) Process(pid int, args ...string) {
	m.t.Helper()
	dir := "/proc/" + strconv.Itoa(pid)
	m.Write(dir+"/cmdline", strings.Join(args, "\x00")+"\x00")
	m.Write(dir+"/status", "Name:\tx\nNSpid:\t"+strconv.Itoa(pid)+"\n")
}

func (m *Machine) run(_ context.Context, argv ...string) ([]byte, error) {
	line := strings.Join(argv, " ")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Ran = append(m.Ran, line)
	if text, ok := m.Answers[line]; ok {
		return []byte(text), nil
	}
	if text, ok := m.Failures[line]; ok {
		return nil, errors.New(text)
	}
	return nil, &exec.Error{Name: argv[0], Err: exec.ErrNotFound}
}
