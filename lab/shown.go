package lab

import (
	"bytes"
	"context"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// heartbeat is how often a long step says that it is still at work.
const heartbeat = 4 * time.Second

// runShown runs a program that takes long and passes on what it says: its lines
// as they come, and between them, every few seconds, the last one again, or what
// it is where there was none.
func runShown(ctx context.Context, pr *progress, what string, argv []string) error {
	lines := &lineWriter{say: func(s string) { pr.say("%s", s) }, what: what, last: what}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = lines, lines
	// A group of its own: on the end of ctx its children end with it. If this process
	// is killed it ends too; the kernel ties that to the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return hostError(ctx, argv, nil, err)
	}
	ended, beating := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(beating)
		beat(ended, lines)
	}()
	err := cmd.Wait()
	close(ended)
	<-beating
	if err != nil {
		return hostError(ctx, argv, lines.all(), err)
	}
	return nil
}

func beat(ended <-chan struct{}, lines *lineWriter) {
	t := time.NewTicker(heartbeat)
	defer t.Stop()
	for {
		select {
		case <-ended:
			return
		case <-t.C:
			lines.again()
		}
	}
}

// lineWriter passes whole lines on and remembers all of them.
type lineWriter struct {
	mu      sync.Mutex
	say     func(string)
	what    string
	text    bytes.Buffer
	partial []byte
	last    string
	spoke   time.Time
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	w.partial = append(w.partial, p...)
	for {
		line, rest, ok := bytes.Cut(w.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.partial = rest
		// mmdebstrap marks its own lines; the rest is dpkg and maintainer scripts.
		if s, mine := strings.CutPrefix(string(line), "I: "); mine {
			w.last, w.spoke = w.what+": "+s, time.Now()
			w.say(w.last)
		}
	}
}

func (w *lineWriter) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.spoke) > heartbeat/2 {
		w.say(w.last + " (still at it)")
	}
}

func (w *lineWriter) all() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.text.Bytes())
}
