package gluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/exec"
	"strings"
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

// Call is what a Runner is asked to run.
type Call struct {
	// Flags are given to gluster before any command.
	Flags []string
	// Commands are run one after the other, whether or not those before them were
	// refused. None means gluster with its flags only.
	Commands [][]string
	// Alone asks for a process for each command: some show what they found only
	// when the process ends.
	Alone bool
}

// Output is what a Call printed, all of its commands' output in their order,
// and how the last process ended.
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

// execRunner runs the command on this host, in sessions where it can.
type execRunner struct {
	command  string
	socket   string // glusterd's
	sessions sessions
}

// Run implements Runner.
func (r *execRunner) Run(ctx context.Context, call Call) (Output, error) {
	if len(call.Commands) == 0 {
		return r.once(ctx, call.Flags)
	}
	var all Output
	for _, words := range call.Commands {
		out, err := r.one(ctx, call, words)
		all.Stdout, all.Stderr = append(all.Stdout, out.Stdout...), append(all.Stderr, out.Stderr...)
		all.ExitCode = out.ExitCode
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func (r *execRunner) one(ctx context.Context, call Call, words []string) (Output, error) {
	line := strings.Join(words, " ")
	if call.Alone || len(line) > maxLine {
		// After "--" no word is taken for a flag, whatever it begins with.
		args := append(append(append([]string{}, call.Flags...), "--"), words...)
		return r.once(ctx, args)
	}
	if err := r.knock(ctx); err != nil {
		return Output{}, err
	}
	return r.inSession(ctx, call.Flags, line)
}

// once runs the command as a process of its own. It gets a process group, so
// that what it starts (glfsheal) ends with it.
func (r *execRunner) once(ctx context.Context, args []string) (Output, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var stdout, stderr limitedBuffer
	stdout.full, stderr.full = cancel, cancel

	cmd := exec.CommandContext(ctx, r.command, args...)
	dress(cmd)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return killGroup(cmd) }

	err := cmd.Run()
	out := Output{Stdout: stdout.kept.Bytes(), Stderr: stderr.kept.Bytes()}
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	out.ExitCode, err = r.ended(err)
	return out, err
}

// dress gives a command what every gluster process gets.
func dress(cmd *exec.Cmd) {
	// Texts are matched in English; where it finds its helpers must not depend
	// on who started the agent.
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = killWait
}

func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// ended says how a process ended: an exit code, or an error where it has none.
func (r *execRunner) ended(err error) (int, error) {
	if err == nil {
		return 0, nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if code := exit.ExitCode(); code >= 0 {
			return code, nil
		}
		return 0, fmt.Errorf("%s ended by a signal: %w", r.command, err)
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return 0, &volume.Error{
			Kind: volume.Precondition, Op: "run " + r.command, Err: err,
			Next: "install the package glusterfs-server on this node, or name the command in the agent's configuration",
		}
	}
	return 0, fmt.Errorf("run %s: %w", r.command, err)
}

// knock finds out whether anybody listens on glusterd's socket. A session waits
// for a dead glusterd until its timeout ends; a process of its own gives up at
// once and needs no knocking.
func (r *execRunner) knock(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", r.socket)
	if err == nil {
		return conn.Close()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &Error{Reason: DaemonDown, Err: err, Text: "glusterd does not listen on " + r.socket + ": is the service glusterd running?"}
}

// errTooMuch ends a command that prints more than maxOutput.
var errTooMuch = fmt.Errorf("the command printed more than %d MiB", maxOutput>>20)

// limitedBuffer keeps what is written to it and ends the writer when it is full.
// It embeds no bytes.Buffer: io.Copy would use that one's ReadFrom and pass by Write.
type limitedBuffer struct {
	kept bytes.Buffer
	full context.CancelCauseFunc
}

// Write implements io.Writer.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.kept.Len()+len(p) > maxOutput {
		b.full(errTooMuch)
		return 0, errTooMuch
	}
	return b.kept.Write(p)
}
