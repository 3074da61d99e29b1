package host_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/doctor/host"
	"bricklayer.csi/internal/doctor/hosttest"
)

func TestWriteAndUndo(t *testing.T) {
	m := hosttest.New(t)
	m.Write("/etc/a", "old\n")
	if err := os.Chmod(filepath.Join(m.Root, "etc/a"), 0o640); err != nil {
		t.Fatal(err)
	}
	change := host.Step{Write: &host.Write{Path: "/etc/a", Old: new("old\n"), New: "new\n", Mode: 0o600}}
	fresh := host.Step{Write: &host.Write{Path: "/etc/d/b", New: "b\n", Mode: 0o644}}
	for range 2 { // a step that was taken is not an error
		for _, s := range []host.Step{change, fresh} {
			if err := m.Take(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	info, err := m.Stat("/etc/a")
	if err != nil || info.Mode().Perm() != 0o640 || m.Read("/etc/a") != "new\n" || m.Read("/etc/d/b") != "b\n" {
		t.Errorf("the files are %q (%v) and %q", m.Read("/etc/a"), info.Mode(), m.Read("/etc/d/b"))
	}
	for range 2 {
		for _, s := range []host.Step{change, fresh} {
			if err := m.Undo(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if there, err := m.Exists("/etc/d/b"); there || err != nil || m.Read("/etc/a") != "old\n" {
		t.Errorf("after undo the new file is there: %t (%v), and the other holds %q", there, err, m.Read("/etc/a"))
	}
	m.Write("/etc/a", "somebody's\n")
	if err := m.Take(t.Context(), change); err == nil || m.Read("/etc/a") != "somebody's\n" {
		t.Errorf("a file that somebody changed is now %q (%v)", m.Read("/etc/a"), err)
	}
}

func TestMoveNeverOverwrites(t *testing.T) {
	m := hosttest.New(t)
	m.Write("/v/a/info", "x")
	step := host.Step{Move: &host.Move{From: "/v/a", To: "/torn/a"}}
	for _, do := range []func(context.Context, host.Step) error{m.Take, m.Take, m.Undo, m.Undo} {
		if err := do(t.Context(), step); err != nil {
			t.Fatal(err)
		}
	}
	m.Write("/torn/a/info", "y")
	if err := m.Take(t.Context(), step); err == nil || m.Read("/torn/a/info") != "y" || m.Read("/v/a/info") != "x" {
		t.Errorf("a move onto what is there: %v", err)
	}
}

func TestSymbolicLinkStays(t *testing.T) {
	m := hosttest.New(t)
	m.Write("/etc/real", "old")
	link := filepath.Join(m.Root, "etc/link")
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteFile("/etc/link", []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != "real" || m.Read("/etc/real") != "new" {
		t.Errorf("the link points to %q (%v), the file holds %q", to, err, m.Read("/etc/real"))
	}
}

var rewrite = flag.String("rewrite", "", "for the test that kills this program: the root of a machine whose file to write over and over")

// TestRewriteForever is the program that TestKilledInTheMiddle kills.
func TestRewriteForever(t *testing.T) {
	if *rewrite == "" {
		t.Skip("it runs for another test only")
	}
	h := &host.Host{Root: *rewrite}
	old, fresh := killTexts()
	if err := os.WriteFile(filepath.Join(*rewrite, "started"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for {
		for _, s := range []string{fresh, old} {
			if err := h.WriteFile("/etc/docker/daemon.json", []byte(s), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func killTexts() (old, fresh string) {
	return strings.Repeat("old\n", 50_000), strings.Repeat("and new\n", 50_000)
}

// A fix that is killed at any moment leaves the file old or new, never half.
func TestKilledInTheMiddle(t *testing.T) {
	m := hosttest.New(t)
	old, fresh := killTexts()
	m.Write("/etc/docker/daemon.json", old)
	seen := map[bool]int{}
	for range 30 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestRewriteForever$", "-rewrite", m.Root)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for {
			if there, err := m.Exists("/started"); there || err != nil {
				break
			}
			<-time.After(time.Millisecond)
		}
		<-time.After(time.Duration(rand.IntN(int(20 * time.Millisecond))))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		if err := os.Remove(filepath.Join(m.Root, "started")); err != nil {
			t.Fatal(err)
		}
		switch now := m.Read("/etc/docker/daemon.json"); now {
		case old, fresh:
			seen[now == old]++
		default:
			t.Fatalf("the file is neither old nor new: %d bytes", len(now))
		}
	}
	t.Logf("killed 30 times: old %d, new %d", seen[true], seen[false])
}

func TestRunIsBounded(t *testing.T) {
	h, err := host.Real()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Run(t.Context(), "no-such-program-at-all"); !host.Missing(err) {
		t.Errorf("a program that is missing: %v", err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("time is up"))
	defer cancel()
	if _, err := h.Run(ctx, "sleep", "600"); err == nil || !strings.Contains(err.Error(), "time is up") {
		t.Errorf("a program that does not end: %v", err)
	}
	if _, err := h.Run(t.Context(), "sh", "-c", "echo why >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("a program that fails: %v", err)
	}
}
