package gluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bricklayer.csi/internal/volume"
)

// stand-in is a gluster command for tests: it answers by what it is asked, and
// counts its starts in the file beside it.
const standIn = `#!/bin/sh
dir=${0%/*}
echo $$ >>"$dir/starts"
answer() {
	case "$*" in
	*slow*)   sleep 60 & echo $! >"$dir/child"; wait ;;
	*flood*)  yes "<x/>" ;;
	*refuse*) printf '<?xml version="1.0"?>\n<cliOutput><opRet>-1</opRet><opErrno>30806</opErrno><opErrstr>no</opErrstr></cliOutput>\n' ;;
	*bogus*)  echo "Wrong word" >&2; exit 1 ;;
	*vanish*) exit 1 ;;
	*stray*)  echo "Error : Request timed out"; printf '<?xml version="1.0"?>\n<cliOutput><opRet>0</opRet><opErrno>0</opErrno><opErrstr/></cliOutput>\n' ;;
	*)        printf '<?xml version="1.0"?>\n<cliOutput><opRet>0</opRet><opErrno>0</opErrno><opErrstr/><said>%s</said></cliOutput>\n' "$*" ;;
	esac
}
[ "$1" = --version ] && { echo "glusterfs 10.3"; env >"$dir/env"; exit 0; }
while [ $# -gt 0 ]; do
	[ "$1" = -- ] && { shift; answer "$@"; exit 0; }
	shift
done
echo "Welcome to gluster prompt, type 'help' to see the available commands." >&2
while read -r line; do answer "$line"; done
`

// newStandIn returns a CLI of the stand-in, and its directory.
func newStandIn(t *testing.T, socket bool) (*CLI, string) {
	t.Helper()
	dir := t.TempDir()
	command := filepath.Join(dir, "gluster")
	if err := os.WriteFile(command, []byte(standIn), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	if socket {
		l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	c, err := NewCLI(Options{Command: command, Socket: path, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, dir
}

func starts(t *testing.T, dir string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "starts"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(data), "\n")
}

func TestSessionIsUsedAgain(t *testing.T) {
	c, dir := newStandIn(t, true)
	for i := range 20 {
		if err := c.StartVolume(t.Context(), "v"+strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := starts(t, dir); n != 1 {
		t.Errorf("%d processes for 20 commands, want 1", n)
	}
	if err := c.StartVolume(t.Context(), "refuse"); volume.KindOf(err) != volume.NotFound {
		t.Errorf("a refusal: %v", err)
	}
	if err := c.StartVolume(t.Context(), "v"); err != nil {
		t.Error(err)
	}
	if n := starts(t, dir); n != 2 {
		t.Errorf("%d processes, want another after a refusal", n)
	}
}

func TestSessionsOfManyCallers(t *testing.T) {
	c, dir := newStandIn(t, true)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for j := range 10 {
				name := fmt.Sprintf("v%d-%d", i, j)
				out, err := c.ask(t.Context(), "test", "volume", "start", name)
				if err != nil || !strings.Contains(string(out), "<said>volume start "+name+"</said>") {
					t.Errorf("%s: answered %q, error %v", name, out, err)
				}
			}
		})
	}
	all.Wait()
	c.runner.(*execRunner).sessions.mu.Lock()
	idle := len(c.runner.(*execRunner).sessions.idle)
	c.runner.(*execRunner).sessions.mu.Unlock()
	if idle > maxIdle {
		t.Errorf("%d idle sessions, want at most %d", idle, maxIdle)
	}
	t.Logf("%d processes for 160 commands", starts(t, dir))
}

func TestLongLinesHaveAProcessOfTheirOwn(t *testing.T) {
	c, dir := newStandIn(t, true)
	long := []Option{{"user.long", strings.Repeat("x", 2000)}}
	for range 2 {
		if err := c.SetOptions(t.Context(), "v", long); err != nil {
			t.Fatal(err)
		}
	}
	if n := starts(t, dir); n != 2 {
		t.Errorf("%d processes, want 2", n)
	}
}

func TestBrokenSessions(t *testing.T) {
	c, _ := newStandIn(t, true)
	for name, want := range map[string]Reason{"bogus": Other, "vanish": DaemonDown, "stray": Timeout} {
		for range 2 { // in a fresh session and in one that was used
			err := c.StopVolume(t.Context(), name)
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Reason != want || e.Command != "volume stop "+name {
				t.Errorf("%s: %v, want reason %s", name, err, want)
			}
			if strings.Contains(fmt.Sprint(err), "Welcome") {
				t.Errorf("%s: the greeting is part of the error: %v", name, err)
			}
			if err := c.StartVolume(t.Context(), "v"); err != nil {
				t.Errorf("after %s: %v", name, err)
			}
		}
	}
}

func TestAnIdleSessionThatDiedIsReplaced(t *testing.T) {
	c, dir := newStandIn(t, true)
	for i := range 3 {
		if err := c.StartVolume(t.Context(), "v"); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "starts"))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Fields(string(data))
		pid, err := strconv.Atoi(lines[len(lines)-1])
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	}
}

func await(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(10 * time.Second); !cond(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("it did not happen within 10 s")
		}
	}
}

func TestCancelEndsTheWholeGroup(t *testing.T) {
	for name, run := range map[string]func(ctx context.Context, c *CLI) error{
		"session": func(ctx context.Context, c *CLI) error { return c.StartVolume(ctx, "slow") },
		"alone":   func(ctx context.Context, c *CLI) error { _, err := c.HealInfo(ctx, "slow"); return err },
	} {
		c, dir := newStandIn(t, true)
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("the caller left")
		done := make(chan error, 1)
		go func() { done <- run(ctx, c) }()
		child := 0
		await(t, func() bool {
			data, err := os.ReadFile(filepath.Join(dir, "child"))
			if err != nil {
				return false
			}
			child, err = strconv.Atoi(strings.TrimSpace(string(data)))
			return err == nil
		})
		cancel(reason)
		err := <-done
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Reason != Timeout || !errors.Is(err, reason) {
			t.Errorf("%s: %v, want Timeout because of the caller", name, err)
		}
		await(t, func() bool { return errors.Is(syscall.Kill(child, 0), syscall.ESRCH) })
	}
}

func TestFloodIsStopped(t *testing.T) {
	c, _ := newStandIn(t, true)
	if _, err := c.HealInfo(t.Context(), "flood"); err == nil || !errors.Is(err, errTooMuch) {
		t.Errorf("alone: %v, want too much", err)
	}
	if err := c.StartVolume(t.Context(), "flood"); err == nil {
		t.Error("session: no error")
	}
}

func TestNobodyListens(t *testing.T) {
	c, dir := newStandIn(t, false)
	err := c.StartVolume(t.Context(), "v")
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != DaemonDown || !strings.Contains(err.Error(), "volume start v") {
		t.Errorf("%v, want DaemonDown", err)
	}
	if n := starts(t, dir); n != 0 {
		t.Errorf("%d processes, want none", n)
	}
	if _, err := c.Version(t.Context()); err != nil {
		t.Errorf("the version needs no glusterd: %v", err)
	}
	env, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil || !strings.Contains(string(env), "LC_ALL=C\n") || strings.Contains(string(env), "HOME=") {
		t.Errorf("environment %q, error %v; want LC_ALL=C and nothing of ours", env, err)
	}
}

func TestNoSuchCommand(t *testing.T) {
	for _, command := range []string{"no-such-gluster-command", "/no/such/gluster"} {
		c, err := NewCLI(Options{Command: command, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Version(t.Context()); volume.KindOf(err) != volume.Precondition || !strings.Contains(err.Error(), "glusterfs-server") {
			t.Errorf("%s: %v, want Precondition with advice", command, err)
		}
	}
}

func TestIdleSessionsEnd(t *testing.T) {
	c, dir := newStandIn(t, true)
	if err := c.StartVolume(t.Context(), "v"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "starts"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	await(t, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
}
