package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/pause"
)

// progress tells a person what goes on, with the seconds since the start. It is
// written to by all nodes at once.
type progress struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
}

func newProgress(w io.Writer) *progress {
	if w == nil {
		w = io.Discard
	}
	return &progress{w: w, start: time.Now()}
}

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A terminal that went away is no reason to leave a lab half built.
	_, _ = fmt.Fprintf(p.w, "[%5.1f s] %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// run runs a program of the host and answers its standard output; the error
// carries what it wrote to standard error.
func run(ctx context.Context, argv ...string) ([]byte, error) {
	return runInput(ctx, "", argv...)
}

func runInput(ctx context.Context, input string, argv ...string) ([]byte, error) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errOut
	// A child that a killed program leaves behind may hold the pipes open.
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Run(); err != nil {
		return out.Bytes(), hostError(ctx, argv, errOut.Bytes(), err)
	}
	return out.Bytes(), nil
}

func hostError(ctx context.Context, argv []string, errOut []byte, err error) error {
	if ctx.Err() != nil {
		// What a program says that was told to stop is beside the point.
		err, errOut = context.Cause(ctx), nil
	}
	code := -1
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	}
	return &ExitError{Argv: argv, Code: code, Stderr: errOut, Err: err}
}

// until asks again and again until cond answers true, fails, or ctx ends.
func until(ctx context.Context, every time.Duration, cond func() (bool, error)) error {
	for {
		if ok, err := cond(); ok || err != nil {
			return err
		}
		if err := pause.For(ctx, every); err != nil {
			return err
		}
	}
}

// lockFile takes an exclusive lock that ends with the process, so that a killed
// command locks nobody out. waiting is called once when somebody else has it.
func lockFile(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	for told := false; ; {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(f, path) {
			// The file goes while the lock is held: whoever waited sees that its
			// file is no longer the one at this path, and begins anew.
			return func() { _ = os.Remove(path); _ = f.Close() }, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !told {
			waiting()
			told = true
		}
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return nil, fmt.Errorf("lock %s is held by another command: %w", path, err)
		}
	}
}

func sameFile(f *os.File, path string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}
