package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// kept is this host as if it were another one, with one shell.
func kept(t *testing.T) Host {
	t.Helper()
	h := Host{Name: "n1", Prefix: []string{"env"}}.Keep()
	t.Cleanup(h.Close)
	return h
}

func TestKeptShell(t *testing.T) {
	h := kept(t)
	for _, test := range []struct {
		script, out string
		code        int
		says        string
	}{
		{script: "echo one; echo two", out: "one\ntwo\n"},
		{script: "printf 'no line feed'", out: "no line feed"},
		{script: "", out: ""},
		{script: "echo", out: "\n"},
		{script: "exec echo gone", out: "gone\n"},
		{script: "echo before; exit 3", out: "before\n", code: 3},
		{script: "echo why >&2; exec false", code: 1, says: "why"},
		{script: "cat; cat <<'END'\nof its own $HOME\nEND", out: "of its own $HOME\n"},
		{script: "kill -9 $(sh -c 'echo $PPID')", code: 137},
		{script: "cd /; x=1; trap 'echo caught' EXIT", out: "caught\n"},
		{script: `echo "${x:-unset}"`, out: "unset\n"},
		{script: "echo still here", out: "still here\n"},
	} {
		out, err := h.Run(t.Context(), test.script)
		failed, _ := errors.AsType[*Error](err)
		switch {
		case string(out) != test.out:
			t.Errorf("%q wrote %q, want %q", test.script, out, test.out)
		case test.code == 0 && err != nil:
			t.Errorf("%q: %v", test.script, err)
		case test.code > 0 && (failed == nil || failed.Code != test.code || !strings.Contains(failed.Stderr, test.says)):
			t.Errorf("%q: %v, want exit code %d and %q", test.script, err, test.code, test.says)
		}
	}
}

func TestKeptShellIsOneForAllScripts(t *testing.T) {
	h := kept(t)
	first, err := h.Run(t.Context(), "echo $PPID $$")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			want := fmt.Sprintf("%s%d\n", first, i)
			if out, err := h.Run(t.Context(), fmt.Sprintf("echo $PPID $$; echo %d", i)); err != nil || string(out) != want {
				t.Errorf("%q, %v; want %q", out, err, want)
			}
		})
	}
	all.Wait()
}

func TestKeptShellStopsWithTheContext(t *testing.T) {
	h := kept(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	began := time.Now()
	if _, err := h.Run(ctx, "exec sleep 60"); !errors.Is(err, why) {
		t.Errorf("it ended with %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	if out, err := h.Run(t.Context(), "echo again"); err != nil || string(out) != "again\n" {
		t.Errorf("after that: %q, %v", out, err)
	}
}

func TestKeptShellThatDies(t *testing.T) {
	h := kept(t)
	out, err := h.Run(t.Context(), "echo last words; kill -9 $$")
	if failed, ok := errors.AsType[*Error](err); !ok || failed.Host.Name != "n1" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := h.Run(t.Context(), "echo again"); err != nil || string(out) != "again\n" {
		t.Errorf("after that: %q, %v", out, err)
	}
	no := Host{Name: "n2", Prefix: []string{"/nonexistent"}}.Keep()
	if _, err := no.Run(t.Context(), "true"); err == nil || !strings.Contains(err.Error(), "node n2") {
		t.Errorf("a prefix that is no program: %v", err)
	}
}
