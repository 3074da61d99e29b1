package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Both sides' steps become a row with what each took and saw, and one that takes
// long shows that it goes on.
func TestSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &story{out: &out, actors: []*actor{{title: "quick"}, {title: "slow"}}}
		do := func(ctx context.Context, a *actor) (string, error) {
			if a.title == "slow" {
				return "at last", pause(ctx, 5*time.Second)
			}
			return "at once", nil
		}
		if err := s.steps(t.Context(), []step{{"create", do}}); err != nil {
			t.Fatal(err)
		}
		want := []tableRow{{"create", []string{"0.0 s: at once", "5.0 s: at last"}}}
		if d := cmp.Diff(want, s.table.rows, cmp.AllowUnexported(tableRow{})); d != "" {
			t.Errorf("want -, got +\n%s", d)
		}
		if !strings.Contains(out.String(), "slow          .. 5.0 s  at last\n") {
			t.Errorf("it told\n%s", out.String())
		}
	})
}

// A failure names the step and who failed, ends the story, and leaves no row.
func TestStepsEnd(t *testing.T) {
	broken := errors.New("broken")
	s := &story{out: new(bytes.Buffer), actors: []*actor{{title: "one"}, {title: "other"}}}
	calls := 0
	do := func(context.Context, *actor) (string, error) { calls++; return "", broken }
	err := s.steps(t.Context(), []step{{"create", do}, {"mount", do}})
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "create, one: ") || calls != 1 || len(s.table.rows) != 0 {
		t.Errorf("%v after %d calls and %d rows", err, calls, len(s.table.rows))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.steps(ctx, []step{{"create", do}}); !errors.Is(err, context.Canceled) || calls != 1 {
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

func TestBrickOn(t *testing.T) {
	all := []brick{{"n2", "/a"}, {"n1", "/b"}, {"n1", "/c"}}
	if b, err := brickOn("n1", all); err != nil || b.path != "/b" {
		t.Errorf("got %v, %v", b, err)
	}
	if b, err := brickOn("n3", all); err == nil {
		t.Errorf("got %v, want an error", b)
	}
}
