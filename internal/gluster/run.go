package gluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"time"

	"bricklayer.csi/internal/volume"
)

// maxOutput bounds what one command may print. `volume info` of a cluster
// prints about 4 KiB a volume.
const maxOutput = 64 << 20

// killWait is how long a killed command's pipes may stay open before they are
// closed: a grandchild that escaped its process group may hold them.
const killWait = 2 * time.Second

// Call is one run of the gluster command.
type Call struct {
	// Args are its arguments, without the command's own name.
	Args []string
	// Stdin is what it reads: a command a line, where Args name none.
	Stdin string
}

// Output is what one run printed and how it ended.
type Output struct {
	Stdout, Stderr []byte
	ExitCode       int
}

// Runner runs the gluster command on a storage node, never through a shell. An
// exit code is no error; an error means that it did not run to its end. It ends
// with its context.
type Runner interface {
	Run(ctx context.Context, call Call) (Output, error)
}

// execRunner runs the command on this host.
type execRunner struct {
	command string
	socket  string // glusterd's
}

// Run implements Runner. The command gets a process group of its own, so that
// what it starts (glfsheal) ends with it.
func (r execRunner) Run(ctx context.Context, call Call) (Output, error) {
	if call.Stdin != "" {
		if err := r.knock(ctx); err != nil {
			return Output{}, err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var stdout, stderr limitedBuffer
	stdout.full, stderr.full = cancel, cancel

	cmd := exec.CommandContext(ctx, r.command, call.Args...)
	// Texts are matched in English; where it finds its helpers must not depend
	// on who started the agent.
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Dir = "/"
	cmd.Stdin = bytes.NewReader([]byte(call.Stdin))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait

	err := cmd.Run()
	out := Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		out.ExitCode = exit.ExitCode()
		if out.ExitCode < 0 {
			return out, fmt.Errorf("%s ended by a signal: %w", r.command, err)
		}
	case errors.Is(err, exec.ErrNotFound):
		return out, &volume.Error{
			Kind: volume.Precondition, Op: "run " + r.command, Err: err,
			Next: "install the package glusterfs-server on this node, or name the command in the agent's configuration",
		}
	case err != nil:
		return out, fmt.Errorf("run %s: %w", r.command, err)
	}
	return out, nil
}

// knock finds out whether anybody listens on glusterd's socket. A gluster that
// reads its commands waits for a dead glusterd until its timeout ends; one that
// has them as arguments gives up at once and needs no knocking.
func (r execRunner) knock(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", r.socket)
	if err == nil {
		return conn.Close()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &Error{
		Reason: DaemonDown, Command: "on this node", Err: err,
		Text: "glusterd does not listen on " + r.socket + ": is the service glusterd running?",
	}
}

// errTooMuch ends a command that prints more than maxOutput.
var errTooMuch = fmt.Errorf("the command printed more than %d MiB", maxOutput>>20)

// limitedBuffer keeps what is written to it and ends the writer when it is full.
type limitedBuffer struct {
	bytes.Buffer
	full context.CancelCauseFunc
}

// Write implements io.Writer.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxOutput {
		b.full(errTooMuch)
		return 0, errTooMuch
	}
	return b.Buffer.Write(p)
}
