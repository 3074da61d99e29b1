package mount

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// Usage asks the mount at target for its space.
func (l *Linux) Usage(ctx context.Context, target string) (Usage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.opts.AnswerWithin, ErrSilent)
	defer cancel()
	usage, err := l.probe.statfs(ctx, target)
	switch {
	case err == nil:
		return usage, nil
	case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.ENOTCONN):
		return Usage{}, l.disconnected(ctx, target, err)
	case errors.Is(err, unix.ENOENT):
		return Usage{}, &volume.Error{Kind: volume.NotFound, Op: "ask for the space", On: target, Err: err}
	case ctx.Err() != nil:
		return Usage{}, &volume.Error{
			Kind: volume.Unavailable, Op: "ask for the space", On: target, Err: context.Cause(ctx),
			Next: "see whether the storage nodes can be reached from this node",
		}
	}
	return Usage{}, &volume.Error{Kind: volume.Internal, Op: "ask for the space", On: target, Err: err}
}

// disconnected says what it means that the kernel calls a mount not connected.
// It says the same for a client that is gone and for one that reaches no brick;
// the second must not be replaced.
func (l *Linux) disconnected(ctx context.Context, target string, answer error) error {
	table, err := l.Mounts(ctx)
	if err != nil {
		return err
	}
	given := errors.Is(answer, unix.ECONNABORTED) // the kernel has given the client up
	fault := ErrDisconnected
	if given || !clientRuns(table, target) {
		m, _ := At(table, target)
		fault = l.ends.explain(m.Device)
	}
	return &volume.Error{Kind: volume.Unavailable, Op: "ask for the space", On: target, Err: fault}
}

// probes runs statfs in the background, at most one a target: a call into a
// hanging client cannot be stopped, so later callers join it instead of
// leaving one more thread behind each.
type probes struct {
	mu    sync.Mutex
	calls map[string]*probe
}

type probe struct {
	done  chan struct{}
	usage Usage
	err   error
}

func (p *probes) statfs(ctx context.Context, target string) (Usage, error) {
	call := p.join(target)
	select {
	case <-call.done:
		return call.usage, call.err
	case <-ctx.Done():
		return Usage{}, ctx.Err()
	}
}

func (p *probes) join(target string) *probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	if call, running := p.calls[target]; running {
		return call
	}
	if p.calls == nil {
		p.calls = map[string]*probe{}
	}
	call := &probe{done: make(chan struct{})}
	p.calls[target] = call
	go func() {
		call.usage, call.err = statfs(target)
		p.mu.Lock()
		if p.calls[target] == call {
			delete(p.calls, target)
		}
		p.mu.Unlock()
		close(call.done)
	}()
	return call
}

// forget lets the next caller ask anew: another mount is at target now, and
// what hangs in the old one says nothing about it.
func (p *probes) forget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, target)
}

func statfs(target string) (Usage, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(target, &s); err != nil {
		return Usage{}, fmt.Errorf("statfs: %w", err)
	}
	size := uint64(max(s.Frsize, 1))
	return Usage{
		Total: times(s.Blocks, size), Free: times(s.Bfree, size), Available: times(s.Bavail, size),
		Files: times(s.Files, 1), FilesFree: times(s.Ffree, 1),
	}, nil
}

// times multiplies what a file system claims, which may be nonsense, without overflow.
func times(n, unit uint64) int64 {
	if n > math.MaxInt64/unit {
		return math.MaxInt64
	}
	return int64(n * unit)
}

// clientRuns reports whether a client process serves the file system mounted
// at target: its last argument is one of the places where that is mounted.
func clientRuns(table []Mount, target string) bool {
	m, mounted := At(table, target)
	if !mounted {
		return false
	}
	places := map[string]bool{}
	for _, other := range table {
		if other.Device == m.Device {
			places[other.Target] = true
		}
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return true // not known to be gone
	}
	for _, p := range processes {
		if name := p.Name(); name[0] < '0' || name[0] > '9' {
			continue
		}
		if args := clientArguments(p.Name()); len(args) > 0 && places[args[len(args)-1]] {
			return true
		}
	}
	return false
}

// clientArguments returns the arguments of a process where it is a Gluster client.
func clientArguments(pid string) []string {
	comm, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil || !strings.HasPrefix(string(comm), "gluster") {
		return nil
	}
	line, err := os.ReadFile("/proc/" + pid + "/cmdline")
	if err != nil || len(line) == 0 {
		return nil // ended, or a zombie
	}
	return strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
}
