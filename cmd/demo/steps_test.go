package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/internal/pause"
)

// Both sides' steps become a row with what each took and saw, and one that takes
// long shows that it goes on.
func TestSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &story{telling: &telling{out: &out}, actors: []*actor{{title: "quick", pods: true}, {title: "slow"}}}
		do := func(ctx context.Context, a *actor) (string, error) {
			if a.title == "slow" {
				return "at last", pause.For(ctx, 5*time.Second)
			}
			return "at once", nil
		}
		if err := s.steps(t.Context(), []step{{name: "create", do: do}, {name: "restart", do: do, podsOnly: true}}); err != nil {
			t.Fatal(err)
		}
		want := []tableRow{
			{"create", []string{"0.0 s: at once", "5.0 s: at last"}},
			{"restart", []string{"0.0 s: at once", "no pod, no node service"}},
		}
		if d := cmp.Diff(want, s.table.rows, cmp.AllowUnexported(tableRow{})); d != "" {
			t.Errorf("want -, got +\n%s", d)
		}
		if !strings.Contains(out.String(), "slow          .. 5.0 s  at last\n") {
			t.Errorf("it told\n%s", out.String())
		}
	})
}

// A step that does not end is ended, and says so.
func TestStepsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &story{telling: &telling{out: io.Discard}, actors: []*actor{{title: "slow"}}}
		do := func(ctx context.Context, _ *actor) (string, error) { return "", pause.For(ctx, time.Hour) }
		err := s.steps(t.Context(), []step{{name: "create", do: do}})
		if err == nil || err.Error() != "create, slow: it did not end in "+within.String() {
			t.Errorf("got %v", err)
		}
	})
}

// A failure names the step and who failed, ends the story, and leaves no row.
func TestStepsEnd(t *testing.T) {
	broken := errors.New("broken")
	s := &story{telling: &telling{out: new(bytes.Buffer)}, actors: []*actor{{title: "one"}, {title: "other"}}}
	calls := 0
	do := func(context.Context, *actor) (string, error) { calls++; return "", broken }
	err := s.steps(t.Context(), []step{{name: "create", do: do}, {name: "mount", do: do}})
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "create, one: ") || calls != 1 || len(s.table.rows) != 0 {
		t.Errorf("%v after %d calls and %d rows", err, calls, len(s.table.rows))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.steps(ctx, []step{{name: "create", do: do}}); !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("interrupted: %v after %d calls", err, calls)
	}
}

func TestFill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big")
	if err := reserve(path, 3*mib); err != nil {
		t.Skipf("no file system for fallocate: %v", err)
	}
	if at, err := fill(t.Context(), path, 3*mib, 2*mib); at != 5*mib || err != nil {
		t.Errorf("written up to %d, %v", at, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if at, err := fill(ctx, path, 5*mib, mib); at != 5*mib || !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %d, %v", at, err)
	}
	for err, want := range map[error]bool{syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.EIO: false} {
		if full(err) != want {
			t.Errorf("full(%v) is not %v", err, want)
		}
	}
}

func TestUnbroken(t *testing.T) {
	for said, want := range map[string]string{
		"20\n20":                      "",
		"20":                          "want the count",
		"":                            "want the count",
		"19\n20":                      "has 19 lines, and its last is number 20",
		"20\n20\nline 3 failed\nmore": "errors: line 3 failed; more",
	} {
		err := unbroken(said)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", said, err, want)
		}
	}
}

// What a program says is told a line each; what it says of a failure is in the error;
// and when its time is over it ends with all that it started.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	tell := &telling{out: &out}
	if err := tell.run(t.Context(), "sh", "-c", "echo one; echo two"); err != nil || out.String() != "\n        one\n        two" {
		t.Errorf("%v, told %q", err, out.String())
	}
	err := tell.run(t.Context(), "sh", "-c", "echo why >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "exit status 3\nwhy") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	// The second sleep would hold the pipe for its hour.
	if err := tell.run(ctx, "sh", "-c", "sleep 3600 & sleep 3600"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestTail(t *testing.T) {
	if got := tail(strings.Repeat("x\n", 100)); strings.Count(got, "x") != 20 {
		t.Errorf("%d lines", strings.Count(got, "x"))
	}
	if got := tail("only\n"); got != "only" {
		t.Errorf("got %q", got)
	}
}

func TestBrickOn(t *testing.T) {
	all := []brick{{"n2", "/a"}, {"n1", "/b"}, {"n1", "/c"}}
	if b, err := brickOn("n1", all); err != nil || b.path != "/b" {
		t.Errorf("got %v, %v", b, err)
	}
	if b, err := brickOn("n3", all); err == nil {
		t.Errorf("got %v, want an error", b)
	}
}
