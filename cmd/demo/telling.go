package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"bricklayer.csi/internal/pause"
)

// beat is how often a step that takes long gives a sign of life.
const beat = 2 * time.Second

// telling writes what goes on, from several goroutines.
type telling struct {
	mu  sync.Mutex
	out io.Writer
}

func (t *telling) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, format, args...)
}

// working tells who does something, shows that it goes on, and how long it took.
func (t *telling) working(who string, do func() (string, error)) (time.Duration, error) {
	t.say("      %-14s", who)
	begun := time.Now()
	stop := t.dots()
	seen, err := do()
	stop()
	took := time.Since(begun)
	if err != nil {
		t.say(" failed after %s\n", seconds(took))
		return took, err
	}
	t.say(" %s  %s\n", seconds(took), seen)
	return took, nil
}

// dots writes one from time to time, until stop is called.
func (t *telling) dots() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				t.say(".")
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// Write tells what a program says, a line each.
func (t *telling) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		t.say("\n        %s", strings.TrimRight(line, "\n"))
	}
	return len(p), nil
}

// endWithin is how long a program may take to end when it is told to.
const endWithin = 20 * time.Second

// run runs a program that takes long and tells what it says to its standard output.
func (t *telling) run(ctx context.Context, argv ...string) error {
	var why bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = t, &why
	// A group of its own, so that what it started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = endWithin
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, tail(why.String()))
	}
	return nil
}

// tail is the last lines of what a program said.
func tail(text string) string {
	const most = 20
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// until asks again and again until cond returns no error, and answers the last one
// where ctx ends before.
func until(ctx context.Context, cond func(context.Context) error) error {
	for {
		err := cond(ctx)
		if err == nil {
			return nil
		}
		if waitErr := pause.For(ctx, 300*time.Millisecond); waitErr != nil {
			return errors.Join(waitErr, err)
		}
	}
}
