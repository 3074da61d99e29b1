// Package host owns how the benchmarks run commands where a measurement takes
// place: on this host, or on another through a command such as ssh.
//
// It refuses to know what is run and why. A script goes to the far shell's
// standard input, so that nothing is quoted twice on its way: whatever starts a
// shell at the other end (ssh, kubectl exec -i, the lab's exec) will do.
package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Host is where scripts run. The zero value is this host.
type Host struct {
	// Name is for people and for errors; empty means this host.
	Name string
	// Prefix starts a command on the host, and is empty for this one.
	Prefix []string

	kept *shell // where scripts share one
}

// What a template has in the place of the node's name and address.
const (
	nodeMark    = "{node}"
	addressMark = "{address}"
)

// Template makes hosts of a command with {node} or {address} in it, such as
// "ssh root@{address}". Words are parted at spaces; there is no quoting.
type Template []string

// ParseTemplate reads a template. Empty text is no template.
func ParseTemplate(text string) (Template, error) {
	if text == "" {
		return nil, nil
	}
	if !strings.Contains(text, nodeMark) && !strings.Contains(text, addressMark) {
		return nil, fmt.Errorf("%q names no node: want a command with %s or %s in it, such as \"ssh root@%s\"", text, nodeMark, addressMark, addressMark)
	}
	return strings.Fields(text), nil
}

// Host returns the host of that name and address.
func (t Template) Host(node, address string) Host {
	h := Host{Name: node}
	r := strings.NewReplacer(nodeMark, node, addressMark, address)
	for _, word := range t {
		h.Prefix = append(h.Prefix, r.Replace(word))
	}
	return h
}

func (h Host) String() string {
	if h.Name == "" {
		return "this host"
	}
	return "node " + h.Name
}

// Error is a script that ran and failed.
type Error struct {
	Host Host
	// Code is the exit code, 128 and the signal's number where a signal ended it.
	Code int
	// Stderr is the last of what it wrote there.
	Stderr string
	Err    error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("on %s: %v", e.Host, e.Err)
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// grace is how long a script may take to end after it was told to.
const grace = 5 * time.Second

// Run has a shell of the host read the script and returns what it wrote, even
// where it failed: that is then an *Error. What a script started on another host
// may go on there for a while after ctx has ended.
func (h Host) Run(ctx context.Context, script string) ([]byte, error) {
	if h.kept != nil {
		return h.kept.run(ctx, h, script)
	}
	cmd := command(ctx, h.Prefix)
	cmd.Stdin = strings.NewReader(script)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err == nil {
		return out.Bytes(), nil
	}
	if ctx.Err() != nil {
		return out.Bytes(), fmt.Errorf("on %s: %w", h, context.Cause(ctx))
	}
	failed := &Error{Host: h, Code: -1, Stderr: tail(errs.String()), Err: err}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		failed.Code = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			failed.Code = 128 + int(status.Signal())
		}
	}
	return out.Bytes(), failed
}

// command is a shell that reads scripts, started by prefix.
func command(ctx context.Context, prefix []string) *exec.Cmd {
	argv := append(slices.Clone(prefix), "sh", "-s")
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) // #nosec G204 -- the user says how a shell is started
	// A group of its own: Ctrl-C at the terminal is for us, who then tell it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	return cmd
}

// tail returns the last lines of a program's complaints, on one line.
func tail(text string) string {
	const most = 400
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	text = strings.TrimSpace(text)
	if len(text) > most {
		text = "..." + strings.ToValidUTF8(text[len(text)-most:], "")
	}
	return text
}

// Quote makes one word of a text for a shell.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
