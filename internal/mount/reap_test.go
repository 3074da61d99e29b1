package mount

import (
	"context"
	"log/slog"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReap inherits a process that ends, as process 1 of a container does.
func TestReap(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skip(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	// The shell ends at once and leaves its child to us.
	if out, err := exec.CommandContext(ctx, "sh", "-c", "(sleep 0.05) & exit 0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	until := func(what string, is func() bool) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for !is() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("not in time: %s", what)
			}
		}
	}
	until("it has ended", func() bool { return len(endedChildren()) == 1 })
	reaping, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		Reap(reaping, 10*time.Millisecond, slog.New(slog.DiscardHandler))
		close(done)
	}()
	until("it is collected", func() bool { return len(endedChildren()) == 0 })
	// A child of our own is left to whoever waits for it.
	for range 20 {
		if err := exec.CommandContext(ctx, "true").Run(); err != nil {
			t.Error(err)
		}
	}
	end()
	<-done
}

func TestEndsAreExplained(t *testing.T) {
	var e ends
	if got := e.explain("0:50"); got != ErrStale { //nolint:errorlint // nothing may be added
		t.Errorf("nothing is known, but got %v", got)
	}
	e.put("0:50", "signal: killed")
	if got := e.explain("0:50").Error(); len(got) <= len(ErrStale.Error()) || got[len(got)-14:] != "signal: killed" {
		t.Errorf("got %q", got)
	}
	e.forget("0:50")
	if got := e.explain("0:50"); got != ErrStale { //nolint:errorlint // nothing may be added
		t.Errorf("forgotten, but got %v", got)
	}
}

func TestFlagsRoundTrip(t *testing.T) {
	given := []string{"noatime", "ro", "log-level=ERROR", "lru-limit=5"}
	f, err := ParseFlags(given)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseFlags(f.Strings())
	if err != nil || !again.ReadOnly || len(again.client) != 2 || len(again.kernel) != 1 {
		t.Errorf("got %+v, %v", again, err)
	}
	if got := (Flags{ReadOnly: true}).Strings(); len(got) != 1 || got[0] != "ro" {
		t.Errorf("got %q", got)
	}
}
