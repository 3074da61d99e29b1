package plain

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/lifecycle/lifecycletest"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/internal/volume/volumetest"
)

// newBackend returns a backend over a fake cluster, as one controller has it.
func newBackend(t testing.TB, c *agenttest.Cluster) *Backend {
	t.Helper()
	config := Config{
		Pool: c.Config().Pool, ClientNetworks: []string{"10.90.0.0/24"},
		Guard: guard.Settings{Operations: 4},
	}
	for i, n := range c.Config().Nodes {
		node := Node{Name: n.Name, Address: n.Address, Zone: n.Zone, Agent: c.Nodes()[i]}
		for _, r := range n.Roots {
			node.Roots = append(node.Roots, r.Name)
		}
		config.Nodes = append(config.Nodes, node)
	}
	return New(config, slog.New(slog.DiscardHandler))
}

func testSpec(t testing.TB, name string, size volume.Size, parameters ...string) volume.Spec {
	t.Helper()
	return volumetest.Spec(t, name, size, append([]string{"pool", "lab"}, parameters...)...)
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestBackendSuiteOnFakeNodes(t *testing.T) {
	volumetest.Run(t, func(t *testing.T) volumetest.Fixture {
		t.Helper()
		c := agenttest.New(agenttest.Default(6))
		return volumetest.Fixture{
			Backend: newBackend(t, c), Second: newBackend(t, c), Pool: "lab",
			Types: []string{"replicate:3", "replicate:2", "replicate:3:arbiter:1", "disperse:2:1", "disperse:4:2", "none"},
			Unit:  volume.GiB, Timeout: 10 * time.Second,
			Leftovers: func(context.Context) ([]string, error) {
				return strings.FieldsFunc(c.Leftovers().String(), func(r rune) bool { return r == '\n' }), nil
			},
		}
	})
}

// mustCreate creates a volume over nodes without faults.
func mustCreate(t testing.TB, b *Backend, spec volume.Spec) volume.Volume {
	t.Helper()
	v, err := b.Create(testContext(t), spec)
	if err != nil {
		t.Fatalf("create %s: %v", spec.Name, err)
	}
	return v
}

// wantOne fails the test unless the cluster holds exactly one volume, whole and
// with nothing beside it, and then deletes it and looks that nothing is left.
func wantOne(t testing.TB, c *agenttest.Cluster, spec volume.Spec, size volume.Size) {
	t.Helper()
	b := newBackend(t, c)
	got, err := b.Get(testContext(t), spec.Handle())
	if err != nil || got.State != volume.Ready || got.Size != size {
		t.Errorf("got %+v, %v; want it ready with %d bytes", got, err, size)
	}
	bricks := spec.Parameters.Type.Bricks()
	left := c.Leftovers()
	if len(left.Volumes) != 1 || len(left.Bricks) != bricks || len(left.Trash) != 0 || len(left.Quotas) != bricks || len(left.Locks) != 0 {
		t.Errorf("there is more or less than one volume:\n%s", left)
	}
	if h, err := b.Health(testContext(t), spec.Handle()); err != nil || len(h.Problems) > 0 {
		t.Errorf("its health: %+v, %v", h.Problems, err)
	}
	if err := b.Delete(testContext(t), spec.Handle()); err != nil {
		t.Errorf("delete: %v", err)
	}
	c.CheckEmpty(t)
}

// faultAt is one way to be interrupted at the n-th call of a verb.
type faultAt struct {
	name string
	hook func(n int, cancel context.CancelFunc) agenttest.Hook
}

var faults = []faultAt{
	{"killed before", func(n int, cancel context.CancelFunc) agenttest.Hook {
		return agenttest.Do(agenttest.Call{Number: n, Moment: agenttest.Before}, cancel)
	}},
	{"killed during", func(n int, cancel context.CancelFunc) agenttest.Hook {
		return agenttest.All(
			agenttest.Do(agenttest.Call{Number: n, Moment: agenttest.During}, cancel),
			agenttest.FailTimes(agenttest.Call{Number: n, Moment: agenttest.During}, 1, nil))
	}},
	{"killed after", func(n int, cancel context.CancelFunc) agenttest.Hook {
		return agenttest.Do(agenttest.Call{Number: n, Moment: agenttest.After}, cancel)
	}},
	{"answer lost", func(n int, _ context.CancelFunc) agenttest.Hook {
		return agenttest.LoseAnswer(agenttest.Call{Number: n})
	}},
	{"refused", func(n int, _ context.CancelFunc) agenttest.Hook {
		return agenttest.FailTimes(agenttest.Call{Number: n, Moment: agenttest.Before}, 1,
			&volume.Error{Kind: volume.Exhausted, Op: "test", Err: agenttest.ErrInjected})
	}},
}

// newService returns the use cases over a backend of its own: a controller
// that was just started.
func newService(t testing.TB, c *agenttest.Cluster) *lifecycle.Service {
	t.Helper()
	b := newBackend(t, c)
	return lifecycletest.OnePool{Pool: b.Pool, Name: volume.Plain, Backing: b}.Service()
}

// interrupt runs a use case again and again, each time interrupted in another
// way at another call of an agent, and lets check see what a controller that
// is started afterwards makes of it. It ends with the first call that is never reached.
func interrupt(t *testing.T, prepare func(t *testing.T, c *agenttest.Cluster),
	run func(ctx context.Context, s *lifecycle.Service) error, check func(t *testing.T, c *agenttest.Cluster, before error),
) {
	t.Helper()
	for _, fault := range faults {
		for n, reached := 1, true; reached; n++ {
			t.Run(fmt.Sprintf("%s call %d", fault.name, n), func(t *testing.T) {
				c := agenttest.New(agenttest.Default(3))
				var last atomic.Int64
				watch := func(_ context.Context, call agenttest.Call) error {
					last.Store(max(last.Load(), int64(call.Number)))
					return nil
				}
				c.Fail(watch)
				prepare(t, c)
				at := int(last.Load()) + n
				ctx, cancel := context.WithCancel(testContext(t))
				defer cancel()
				c.Fail(agenttest.All(watch, fault.hook(at, cancel)))
				err := run(ctx, newService(t, c))
				reached = int(last.Load()) >= at
				c.Fail(nil)
				check(t, c, err)
			})
		}
	}
}
