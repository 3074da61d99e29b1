package plain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/volume"
)

// A node that is short of memory is passed over while others are there.
func TestShortNodesArePassedOver(t *testing.T) {
	c := agenttest.New(agenttest.Default(5))
	b := newBackend(t, c)
	c.SetMemory("n1", 4<<30, 100<<20, 0)
	c.SetMemory("n4", 4<<30, 2<<30, 90)
	for i := range 4 {
		v := mustCreate(t, b, testSpec(t, fmt.Sprintf("pvc-%d", i), volume.GiB))
		for _, brick := range v.Bricks {
			if strings.HasPrefix(brick, "10.90.0.11:") || strings.HasPrefix(brick, "10.90.0.14:") {
				t.Errorf("a brick lies on a node that is short: %v", v.Bricks)
			}
		}
	}
	capacity, err := b.Capacity(testContext(t), "lab", testSpec(t, "x", volume.GiB, "volumetype", "replicate:3").Parameters)
	if err != nil || capacity.Available < 15*volume.GiB || capacity.Available > 16*volume.GiB {
		t.Errorf("capacity %+v, %v, want that of three nodes", capacity, err)
	}
	c.SetMemory("n2", 4<<30, 100<<20, 0)
	_, err = b.Create(testContext(t), testSpec(t, "pvc-9", volume.GiB))
	for _, say := range []string{"n1: it is short", "n2: it is short", "n4: it is short", guard.Cure} {
		if !volume.Is(err, volume.Exhausted) || !strings.Contains(err.Error(), say) {
			t.Errorf("got %v (%v), want Exhausted that says %q", err, volume.KindOf(err), say)
		}
	}
	if s := b.Admission().State(); s.Refusals[guard.ByBudget] != 1 || s.Breaker != guard.Closed {
		t.Errorf("state %+v, want one refusal for the budget and a closed breaker", s)
	}
}

// Creations at once share what memory there is: as many are made as have room, and
// the rest is told so.
func TestStormSharesTheMemory(t *testing.T) {
	const room, callers = 5, 12
	c := agenttest.New(agenttest.Default(3))
	for _, n := range c.Config().Nodes {
		c.SetMemory(n.Name, 1500<<20, guard.DefaultReserve+room*guard.DefaultPerBrick, 0)
	}
	config := newBackend(t, c).Config
	config.Guard.Operations = callers
	b := New(config, newBackend(t, c).log)
	// All have been placed before the first is made.
	var placed sync.WaitGroup
	placed.Add(room)
	c.Fail(func(_ context.Context, call agenttest.Call) error {
		if call.Verb == agenttest.CreateVolume && call.Moment == agenttest.Before {
			placed.Done()
			placed.Wait()
		}
		return nil
	})
	var all sync.WaitGroup
	errs := make([]error, callers)
	for i := range callers {
		all.Go(func() { _, errs[i] = b.Create(testContext(t), testSpec(t, fmt.Sprintf("pvc-%d", i), volume.GiB)) })
	}
	all.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if !volume.Is(err, volume.Exhausted) || !strings.Contains(err.Error(), "more on their way there") {
			t.Errorf("got %v (%v), want Exhausted with how many are on their way", err, volume.KindOf(err))
		}
	}
	if made != room {
		t.Errorf("%d volumes were made, want %d", made, room)
	}
}

// A glusterd that refuses one creation after the other is left alone; volumes can be
// deleted meanwhile, and the first that is deleted shows that it works again.
func TestBreakerOfThePool(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	b := newBackend(t, c)
	there := mustCreate(t, b, testSpec(t, "there", volume.GiB))
	c.Fail(agenttest.FailTimes(agenttest.Call{Verb: agenttest.CreateVolume, Moment: agenttest.Before}, 0, nil))
	for i := range guard.DefaultFailures {
		if _, err := b.Create(testContext(t), testSpec(t, fmt.Sprintf("pvc-%d", i), volume.GiB)); errors.Is(err, guard.ErrOpen) || err == nil {
			t.Fatalf("create %d: %v", i, err)
		}
	}
	called := 0
	c.Fail(func(context.Context, agenttest.Call) error { called++; return nil })
	_, err := b.Create(testContext(t), testSpec(t, "pvc-9", volume.GiB))
	if !errors.Is(err, guard.ErrOpen) || !volume.Is(err, volume.Unavailable) || called > 0 {
		t.Errorf("create: %v (%v) after %d calls of agents, want Unavailable at once", err, volume.KindOf(err), called)
	}
	if _, err := b.Expand(testContext(t), there.Handle, volume.SizeRange{Required: 2 * volume.GiB}); !errors.Is(err, guard.ErrOpen) {
		t.Errorf("expand: %v", err)
	}
	if err := b.Delete(testContext(t), there.Handle); err != nil {
		t.Errorf("delete: %v", err)
	}
	mustCreate(t, b, testSpec(t, "pvc-9", volume.GiB))
}

// One node that is away, or a pool without room, is no reason to leave the rest alone.
func TestWhatLeavesTheBreakerClosed(t *testing.T) {
	for name, trouble := range map[string]func(c *agenttest.Cluster){
		"a node off":       func(c *agenttest.Cluster) { c.SetState("n3", agenttest.Off) },
		"a glusterd down":  func(c *agenttest.Cluster) { c.SetState("n3", agenttest.GlusterdDown) },
		"roots unmounted":  func(c *agenttest.Cluster) { c.SetMounted("n1", "root1", false) },
		"too little space": func(c *agenttest.Cluster) { c.Fill("n1", "root1", 20*volume.GiB) },
	} {
		t.Run(name, func(t *testing.T) {
			c := agenttest.New(agenttest.Default(3))
			b := newBackend(t, c)
			trouble(c)
			for i := range 2 * guard.DefaultFailures {
				if _, err := b.Create(testContext(t), testSpec(t, fmt.Sprintf("pvc-%d", i), volume.GiB)); err == nil || errors.Is(err, guard.ErrOpen) {
					t.Fatalf("create %d: %v", i, err)
				}
			}
			if s := b.Admission().State().Breaker; s != guard.Closed {
				t.Errorf("the breaker is %s", s)
			}
		})
	}
	c := agenttest.New(agenttest.Default(3))
	b := newBackend(t, c)
	for _, n := range []string{"n2", "n3"} {
		c.SetState(n, agenttest.Off)
	}
	for i := range guard.DefaultFailures {
		_, _ = b.Create(testContext(t), testSpec(t, fmt.Sprintf("pvc-%d", i), volume.GiB))
	}
	if s := b.Admission().State().Breaker; s != guard.Open {
		t.Errorf("without most of the nodes the breaker is %s", s)
	}
}
