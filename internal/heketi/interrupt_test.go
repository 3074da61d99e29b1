package heketi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bricklayer.csi/internal/heketi/heketitest"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/volume"
)

// fault is one way in which the n-th thing that happens goes wrong.
type fault struct {
	name string
	// arm has it happen at the n-th step or request, and returns whether it came to that.
	arm func(s *heketitest.Server, n int, cancel context.CancelFunc) (reached func() bool)
	// revive puts the server right again.
	revive func(s *heketitest.Server)
}

// atRequest returns a fault that befalls the n-th request.
func atRequest(name string, f heketitest.Fault) fault {
	return fault{name: name, arm: func(s *heketitest.Server, n int, _ context.CancelFunc) func() bool {
		var seen atomic.Int64
		s.OnRequest(func(*http.Request) heketitest.Fault {
			if seen.Add(1) == int64(n) {
				return f
			}
			return heketitest.Fault{}
		})
		return func() bool { return seen.Load() >= int64(n) }
	}, revive: func(s *heketitest.Server) { s.OnRequest(nil) }}
}

// atStep returns a fault that befalls the n-th step of heketi's operations.
func atStep(name string, do func(s *heketitest.Server, cancel context.CancelFunc) error) fault {
	return fault{name: name, arm: func(s *heketitest.Server, n int, cancel context.CancelFunc) func() bool {
		var seen atomic.Int64
		s.OnStep(func(step heketitest.Step) error {
			if step.What == "finalize" && name == stepFailed {
				return nil // only heketi's own disk could fail there: TestLostOperation
			}
			if seen.Add(1) == int64(n) {
				return do(s, cancel)
			}
			return nil
		})
		return func() bool { return seen.Load() >= int64(n) }
	}, revive: func(s *heketitest.Server) { s.OnStep(nil) }}
}

const stepFailed = "step failed"

var errOnNode = errors.New("Unable to execute command on 10.90.0.12: ssh: handshake failed: EOF") //nolint:staticcheck // as heketi spells it

func faults() []fault {
	killed := atStep("heketi killed", func(*heketitest.Server, context.CancelFunc) error { return heketitest.ErrKill })
	killed.revive = func(s *heketitest.Server) { s.OnStep(nil); s.Restart() }
	ended := fault{name: "caller gone", arm: func(s *heketitest.Server, n int, cancel context.CancelFunc) func() bool {
		var seen atomic.Int64
		s.OnRequest(func(*http.Request) heketitest.Fault {
			if seen.Add(1) == int64(n) {
				cancel()
			}
			return heketitest.Fault{}
		})
		return func() bool { return seen.Load() >= int64(n) }
	}, revive: func(s *heketitest.Server) { s.OnRequest(nil) }}
	return []fault{
		killed, ended,
		atStep(stepFailed, func(*heketitest.Server, context.CancelFunc) error { return errOnNode }),
		atStep("caller gone in step", func(_ *heketitest.Server, cancel context.CancelFunc) error { cancel(); return nil }),
		atRequest("request dropped", heketitest.Fault{Drop: true}),
		atRequest("answer lost", heketitest.Fault{Lose: true}),
		atRequest("answer truncated", heketitest.Fault{Truncate: true}),
		atRequest("nonsense", heketitest.Fault{Status: http.StatusOK, Body: "<html>It works!</html>"}),
		atRequest("bad gateway", heketitest.Fault{Status: http.StatusBadGateway, Body: "<html>502</html>"}),
		atRequest("500", heketitest.Fault{Status: http.StatusInternalServerError, Body: "Unable to access db"}),
		atRequest("429", heketitest.Fault{Status: http.StatusTooManyRequests, Body: "Server busy. Retry operation later."}),
	}
}

// interrupt runs a use case again and again, each time interrupted in another
// way at another point, and lets check see what a controller that is started
// afterwards makes of it. It ends with the first point that is never reached.
func interrupt(t *testing.T, prepare func(t *testing.T, s *heketitest.Server),
	run func(ctx context.Context, c *lifecycle.Service) error, check func(t *testing.T, s *heketitest.Server, before error),
) {
	t.Helper()
	for _, f := range faults() {
		for n, reached := 1, true; reached; n++ {
			t.Run(fmt.Sprintf("%s at %d", f.name, n), func(t *testing.T) {
				s := newServer(t, heketitest.Default(3))
				prepare(t, s)
				ctx, cancel := context.WithCancel(testContext(t))
				defer cancel()
				was := f.arm(s, n, cancel)
				err := run(ctx, newService(t, s))
				reached = was()
				f.revive(s)
				check(t, s, err)
			})
		}
	}
}

func nothing(*testing.T, *heketitest.Server) {}

func creating(spec volume.Spec) func(ctx context.Context, c *lifecycle.Service) error {
	return func(ctx context.Context, c *lifecycle.Service) error {
		_, err := c.Create(ctx, spec)
		return err
	}
}

// Whatever happens at whichever point of a create, the repeated call makes the
// one volume, with nothing beside it.
func TestCreateInterruptedAnywhere(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB)
	interrupt(t, nothing, creating(spec), func(t *testing.T, s *heketitest.Server, _ error) {
		v, err := newService(t, s).Create(testContext(t), spec)
		if err != nil {
			t.Fatalf("the repeated call: %v", err)
		}
		wantOne(t, s, spec, v.Size)
	})
}

// A create that is given up after an interruption leaves nothing once it is deleted.
func TestCreateInterruptedThenDeleted(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB)
	interrupt(t, nothing, creating(spec), func(t *testing.T, s *heketitest.Server, before error) {
		if before != nil && volume.KindOf(before).Definite() {
			checkEmpty(t, s) // a failure for certain has undone itself
		}
		if err := newService(t, s).Delete(testContext(t), spec.Handle()); err != nil {
			t.Fatalf("delete: %v", err)
		}
		checkEmpty(t, s)
	})
}

// A create of other parameters after an interruption meets nothing, or a whole
// volume: then the name is taken.
func TestCreateInterruptedThenAnotherSpec(t *testing.T) {
	first, second := testSpec(t, "pvc-1", volume.GiB), testSpec(t, "pvc-1", 2*volume.GiB, "gidMin", "5000")
	interrupt(t, nothing, creating(first), func(t *testing.T, s *heketitest.Server, _ error) {
		c := newService(t, s)
		v, err := c.Create(testContext(t), second)
		if volume.Is(err, volume.Exists) {
			wantOne(t, s, first, volume.GiB)
			return
		}
		if err != nil {
			t.Fatalf("the other spec: %v", err)
		}
		wantOne(t, s, second, v.Size)
	})
}

// An expansion grows once, however often it is asked for.
func TestExpandInterruptedAnywhere(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB)
	larger := volume.SizeRange{Required: 3 * volume.GiB}
	interrupt(t,
		func(t *testing.T, s *heketitest.Server) { mustCreate(t, newBackend(t, s), spec) },
		func(ctx context.Context, c *lifecycle.Service) error {
			_, err := c.Expand(ctx, spec.Handle(), larger)
			return err
		},
		func(t *testing.T, s *heketitest.Server, _ error) {
			v, err := newService(t, s).Expand(testContext(t), spec.Handle(), larger)
			if err != nil && strings.Contains(err.Error(), "half done") && stuckExpansion(t, s) {
				return
			}
			if err != nil || v.Size != larger.Required {
				t.Fatalf("the repeated call: %+v, %v", v, err)
			}
			wantOne(t, s, spec, larger.Required)
		})
}

// heketi that is killed after add-brick can neither finish nor take back the
// expansion. With agents we keep it from harming the bricks, say what to do, and
// delete the volume all the same.
func TestExpansionThatHeketiCannotTakeBack(t *testing.T) {
	s := newServer(t, heketitest.Default(3))
	g := s.Gluster()
	agents := func(c *Config) { c.Gluster = g }
	spec := testSpec(t, "pvc-1", volume.GiB)
	larger := volume.SizeRange{Required: 2 * volume.GiB}
	mustCreate(t, newBackend(t, s), spec)
	s.OnStep(func(step heketitest.Step) error {
		if step.Op == "expand" && step.What == "finalize" {
			return heketitest.ErrKill
		}
		return nil
	})
	if _, err := newBackend(t, s).Expand(testContext(t), spec.Handle(), larger); err == nil || volume.KindOf(err).Definite() {
		t.Fatalf("expand over a killed heketi: %v", err)
	}
	s.OnStep(nil)
	s.Restart()
	b := newBackend(t, s, agents)
	if v, err := b.Create(testContext(t), spec); err != nil || v.Size != volume.GiB {
		t.Errorf("the volume is no longer handed out: %+v, %v", v, err)
	}
	_, err := b.Expand(testContext(t), spec.Handle(), larger)
	if !volume.Is(err, volume.Precondition) || strings.Count(err.Error(), ":/var/lib/heketi/mounts/") != 3 || !strings.Contains(err.Error(), "remove-brick pvc-1 BRICK... start") {
		t.Errorf("expand: %v (%v), want Precondition that names the three bricks", err, volume.KindOf(err))
	}
	if n := s.Calls("POST /operations/pending/cleanup"); n != 0 {
		t.Errorf("heketi was asked %d times to destroy bricks in use", n)
	}
	if h, err := b.Health(testContext(t), spec.Handle()); err != nil || len(h.Problems) != 1 || !strings.Contains(h.Problems[0].Detail, "expand-volume") {
		t.Errorf("health: %+v, %v", h, err)
	}
	alone := newBackend(t, s)
	if err := alone.Delete(testContext(t), spec.Handle()); !volume.Is(err, volume.Unavailable) || !strings.Contains(err.Error(), "stop and delete it with gluster") {
		t.Errorf("delete without agents: %v (%v)", err, volume.KindOf(err))
	}
	g.Rebalancing = 1 << 30
	hurried, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := b.Delete(hurried, spec.Handle()); !volume.Is(err, volume.Busy) || !strings.Contains(err.Error(), "rebalance") || hurried.Err() != nil {
		t.Errorf("delete in a long rebalance: %v (%v), want Busy before the deadline", err, volume.KindOf(err))
	}
	g.Rebalancing = 3
	if err := b.Delete(testContext(t), spec.Handle()); err != nil {
		t.Errorf("delete with agents: %v", err)
	}
	checkEmpty(t, s)
}

// stuckExpansion reports whether heketi itself cannot go on: it was killed
// after add-brick and before it wrote that down, and its own cleaning then tries
// to unmount bricks that are in use.
func stuckExpansion(t *testing.T, s *heketitest.Server) bool {
	t.Helper()
	left, err := s.Leftovers(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(strings.Join(left, "\n"), "heketi operation")
}

func TestDeleteInterruptedAnywhere(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB)
	interrupt(t,
		func(t *testing.T, s *heketitest.Server) { mustCreate(t, newBackend(t, s), spec) },
		func(ctx context.Context, c *lifecycle.Service) error { return c.Delete(ctx, spec.Handle()) },
		func(t *testing.T, s *heketitest.Server, _ error) {
			if err := newService(t, s).Delete(testContext(t), spec.Handle()); err != nil {
				t.Fatalf("the repeated call: %v", err)
			}
			checkEmpty(t, s)
		})
}

// A delete that was interrupted and a new claim of the same name do not meet.
// A delete that failed half way leaves a volume that heketi takes for whole:
// with agents that is seen, and the name is taken until the delete is repeated.
func TestDeleteInterruptedThenCreated(t *testing.T) {
	spec := testSpec(t, "pvc-1", volume.GiB)
	interrupt(t,
		func(t *testing.T, s *heketitest.Server) { mustCreate(t, newBackend(t, s), spec) },
		func(ctx context.Context, c *lifecycle.Service) error { return c.Delete(ctx, spec.Handle()) },
		func(t *testing.T, s *heketitest.Server, _ error) {
			c := newService(t, s, func(c *Config) { c.Gluster = s.Gluster() })
			v, err := c.Create(testContext(t), spec)
			if volume.Is(err, volume.Exists) && strings.Contains(err.Error(), "Gluster has no such volume") {
				if err := c.Delete(testContext(t), spec.Handle()); err != nil {
					t.Fatal(err)
				}
				checkEmpty(t, s)
				return
			}
			if err != nil {
				t.Fatalf("create: %v", err)
			}
			wantOne(t, s, spec, v.Size)
		})
}

// heketi that does not come back in the caller's time is told so before the
// caller's own deadline, and the repeated call finds the volume.
func TestAnswerBeforeTheDeadline(t *testing.T) {
	c := heketitest.Default(3)
	c.Step = 800 * time.Millisecond
	s := newServer(t, c)
	spec := testSpec(t, "pvc-1", volume.GiB)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := newService(t, s).Create(ctx, spec)
	if !volume.Is(err, volume.Busy) || ctx.Err() != nil {
		t.Errorf("got %v (%v), context %v; want Busy before the deadline", err, volume.KindOf(err), ctx.Err())
	}
	v, err := newService(t, s).Create(testContext(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Calls("POST /volumes"); n != 1 {
		t.Errorf("heketi was asked %d times, want once", n)
	}
	wantOne(t, s, spec, v.Size)
}
