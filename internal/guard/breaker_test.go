package guard

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bricklayer.csi/internal/volume"
)

var errDown = &volume.Error{Kind: volume.Unavailable, Op: "create volume", On: "node n1", Err: errors.New("glusterd does not answer")}

// try has one operation end with err, and returns what its caller is told.
func try(t *testing.T, g *Guard, flow string, err error) error {
	t.Helper()
	return g.Do(t.Context(), Request{Flow: flow, Op: "create volume", On: "volume v"}, func(*Turn) error { return err })
}

func wantBreaker(t *testing.T, g *Guard, want BreakerState) {
	t.Helper()
	if got := g.State().Breaker; got != want {
		t.Fatalf("the breaker is %s, want %s", got, want)
	}
}

// refused fails the test unless the breaker keeps an operation from beginning.
func refused(t *testing.T, g *Guard, says ...string) {
	t.Helper()
	err := g.Do(t.Context(), Request{Flow: "class", Op: "create volume", On: "volume v"}, func(*Turn) error {
		t.Error("an operation began")
		return nil
	})
	if !errors.Is(err, ErrOpen) || !volume.Is(err, volume.Unavailable) {
		t.Fatalf("got %v (%v), want Unavailable for the breaker", err, volume.KindOf(err))
	}
	for _, say := range says {
		if !strings.Contains(err.Error(), say) {
			t.Errorf("%v\ndoes not say %q", err, say)
		}
	}
}

// The breaker from its opening to its closing, with a trial that fails before.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Settings{Operations: 4, Failures: 3, Pause: 30 * time.Second})
		_ = try(t, g, "class", errDown)
		_ = try(t, g, "class", errDown)
		_ = try(t, g, "class", nil) // they were not in a row
		_ = try(t, g, "class", errDown)
		_ = try(t, g, FlowExpand, errDown)
		wantBreaker(t, g, Closed)
		_ = try(t, g, FlowDelete, errDown)
		wantBreaker(t, g, Open)

		refused(t, g, "the last 3 operations failed", "glusterd does not answer", "is tried at 00:00:30 UTC, in 30s", "deletions pass")
		if err := try(t, g, FlowDelete, errDown); errors.Is(err, ErrOpen) {
			t.Errorf("a deletion is refused: %v", err)
		}
		<-time.After(20 * time.Second)
		refused(t, g, "in 10s") // what deletions fail for meanwhile keeps it open no longer

		<-time.After(10 * time.Second)
		wantBreaker(t, g, HalfOpen)
		if err := try(t, g, "class", errDown); !errors.Is(err, errDown) {
			t.Errorf("the trial: %v, want what it failed for", err)
		}
		wantBreaker(t, g, Open)
		refused(t, g, "in 30s")

		<-time.After(time.Minute)
		if err := try(t, g, "class", nil); err != nil {
			t.Errorf("the second trial: %v", err)
		}
		wantBreaker(t, g, Closed)
		if n := g.State().Refusals[ByBreaker]; n != 3 {
			t.Errorf("%d refusals are counted, want 3", n)
		}
	})
}

// While one operation tries, no other does; one that tells nothing leaves the
// trial to the next.
func TestBreakerLetsOneTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Settings{Operations: 4, Failures: 1, Pause: time.Second})
		_ = try(t, g, "class", errDown)
		<-time.After(time.Second)
		trial := make(chan error)
		ended := make(chan error)
		go func() {
			ended <- g.Do(t.Context(), Request{Flow: "class"}, func(*Turn) error { return <-trial })
		}()
		synctest.Wait()
		refused(t, g, "one is being tried now")
		trial <- &volume.Error{Kind: volume.Exhausted, Err: errors.New("no room")}
		<-ended
		wantBreaker(t, g, HalfOpen)
		if err := try(t, g, "class", nil); err != nil {
			t.Error(err)
		}
		wantBreaker(t, g, Closed)
	})
}

// A deletion that works shows that the backend does.
func TestBreakerClosesAfterADeletion(t *testing.T) {
	g := New(Settings{Failures: 1, Pause: time.Hour})
	_ = try(t, g, "class", errDown)
	refused(t, g)
	if err := try(t, g, FlowDelete, nil); err != nil {
		t.Error(err)
	}
	wantBreaker(t, g, Closed)
}

// Who waited for a turn while the breaker opened is refused too, and gives it back.
func TestBreakerRefusesThoseWhoWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Settings{Operations: 1, Failures: 1, Pause: time.Hour})
		end := make(chan error)
		go func() { _ = g.Do(t.Context(), Request{Flow: "class"}, func(*Turn) error { return <-end }) }()
		synctest.Wait()
		waited := make(chan error)
		for range 3 {
			go func() { waited <- try(t, g, "class", nil) }()
		}
		synctest.Wait()
		end <- errDown
		for range 3 {
			if err := <-waited; !errors.Is(err, ErrOpen) {
				t.Errorf("got %v, want a refusal", err)
			}
		}
		if s := g.State(); s.Running != 0 || s.Waiting != 0 {
			t.Errorf("%d run and %d wait", s.Running, s.Waiting)
		}
	})
}

// Only what tells of the backend's state opens the breaker.
func TestWhatOpensTheBreaker(t *testing.T) {
	opens := map[volume.Kind]bool{volume.Unavailable: true}
	for _, kind := range volume.Kinds() {
		g := New(Settings{Failures: 1})
		_ = try(t, g, "class", &volume.Error{Kind: kind, Err: errors.New("test")})
		if got := g.State().Breaker == Open; got != opens[kind] {
			t.Errorf("%v opens it: %v, want %v", kind, got, opens[kind])
		}
	}
	g := New(Settings{Failures: 1})
	_ = try(t, g, "class", context.DeadlineExceeded)
	wantBreaker(t, g, Open)

	g = New(Settings{Failures: 1})
	_ = g.Do(t.Context(), Request{Flow: "class"}, func(turn *Turn) error { turn.Spare(); return errDown })
	wantBreaker(t, g, Closed)

	ctx, cancel := context.WithCancel(t.Context())
	_ = g.Do(ctx, Request{Flow: "class"}, func(*Turn) error { cancel(); return errDown })
	wantBreaker(t, g, Closed) // its caller went away
}

// No turn in time is counted, and told as before.
func TestRefusalsOfTurnsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Settings{Operations: 1})
		end := make(chan error)
		go func() { _ = g.Do(t.Context(), Request{Flow: "class"}, func(*Turn) error { return <-end }) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := g.Do(ctx, Request{Flow: "class"}, func(*Turn) error { return nil })
		if !volume.Is(err, volume.Busy) || !strings.Contains(err.Error(), "1 operations run on this pool and 1 wait, 1 of this") {
			t.Errorf("got %v", err)
		}
		if s := g.State(); s.Refusals[ByTurns] != 1 || s.Running != 1 || s.Waiting != 0 || s.Limit != 1 {
			t.Errorf("state %+v", s)
		}
		end <- nil
	})
}
