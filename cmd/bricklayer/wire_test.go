package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/volume"
)

// countedAgents records what is asked of the agents of one pool.
type countedAgents struct {
	fakeAgents
	kept   []string
	closed bool
}

func (c *countedAgents) Keep(targets []agent.Target) error {
	c.kept = nil
	for _, t := range targets {
		c.kept = append(c.kept, t.Node)
	}
	return nil
}

func (c *countedAgents) Close() error {
	c.closed = true
	return nil
}

func poolResource(name string, nodes ...string) v1alpha1.StoragePool {
	var p v1alpha1.StoragePool
	p.Name = name
	for _, n := range nodes {
		p.Spec.Nodes = append(p.Spec.Nodes, v1alpha1.StorageNode{
			Name: n, Address: n + ".example", Roots: []v1alpha1.BrickRoot{{Name: "root1", Path: "/bricks/root1"}},
		})
	}
	p.SetDefaults()
	return p
}

// newTestPools returns pools over fake agents, and those agents by pool.
func newTestPools(t *testing.T) (*pools, map[string]*countedAgents) {
	t.Helper()
	cluster := agenttest.New(agenttest.Default(3))
	dialled := map[string]*countedAgents{}
	p := newPools(func(pool string) (agents, error) {
		if dialled[pool] != nil {
			t.Errorf("pool %s was dialled twice", pool)
		}
		dialled[pool] = &countedAgents{fakeAgents: fakeAgents{cluster}}
		return dialled[pool], nil
	}, slog.New(slog.DiscardHandler))
	return p, dialled
}

func backendOf(t *testing.T, p *pools, pool string) volume.Backend {
	t.Helper()
	b, err := p.Backend(pool, volume.Plain)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPoolsChange(t *testing.T) {
	p, dialled := newTestPools(t)
	p.set([]v1alpha1.StoragePool{poolResource("a", "n1", "n2"), poolResource("b", "n1"), poolResource("c", "n1")})
	a, b := backendOf(t, p, "a"), backendOf(t, p, "b")

	p.set([]v1alpha1.StoragePool{poolResource("a", "n1", "n2"), poolResource("b", "n1", "n3")})
	if backendOf(t, p, "a") != a {
		t.Error("a pool that did not change got another backend")
	}
	if backendOf(t, p, "b") == b {
		t.Error("a pool that changed kept its backend")
	}
	if got := strings.Join(dialled["b"].kept, " "); got != "n1 n3" {
		t.Errorf("connections to %q were kept, want n1 n3", got)
	}
	if _, err := p.Backend("c", volume.Plain); !volume.Is(err, volume.NotFound) || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("a pool that went away gave %v, want not found and the pools that there are", err)
	}
	if !dialled["c"].closed || dialled["a"].closed || dialled["b"].closed {
		t.Error("only the connections of the pool that went away should be closed")
	}
	p.close()
	if !dialled["a"].closed || !dialled["b"].closed || len(p.Names()) != 0 {
		t.Error("close left something open")
	}
}

func TestPoolWithoutThatBackend(t *testing.T) {
	p, _ := newTestPools(t)
	p.set([]v1alpha1.StoragePool{poolResource("a", "n1")})
	if _, err := p.Backend("a", volume.Heketi); !volume.Is(err, volume.Precondition) {
		t.Errorf("got %v, want a failed precondition", err)
	}
}

func TestPoolWithoutNodes(t *testing.T) {
	p, dialled := newTestPools(t)
	p.set([]v1alpha1.StoragePool{poolResource("a", "n1")})
	p.set([]v1alpha1.StoragePool{poolResource("a")})
	if _, err := p.Backend("a", volume.Plain); !volume.Is(err, volume.Precondition) || !strings.Contains(err.Error(), "no storage nodes") {
		t.Errorf("got %v, want a failed precondition", err)
	}
	if err := p.ready(t.Context()); err != nil {
		t.Errorf("ready: %v, but there is no agent to wait for", err)
	}
	if !dialled["a"].closed {
		t.Error("the connections to the nodes that went away were not closed")
	}
}

func TestPoolThatCannotBeReachedIsTriedAgain(t *testing.T) {
	cluster := agenttest.New(agenttest.Default(3))
	missing := errors.New("no certificate")
	p := newPools(func(string) (agents, error) {
		if missing != nil {
			return nil, missing
		}
		return fakeAgents{cluster}, nil
	}, slog.New(slog.DiscardHandler))
	p.set([]v1alpha1.StoragePool{poolResource("a", "n1")})
	if _, err := p.Backend("a", volume.Plain); !errors.Is(err, missing) {
		t.Errorf("got %v, want what hindered it", err)
	}
	if err := p.ready(t.Context()); !errors.Is(err, missing) {
		t.Errorf("ready: %v, want what hinders it", err)
	}
	missing = nil
	backendOf(t, p, "a")
}

func TestReady(t *testing.T) {
	cluster := agenttest.New(agenttest.Default(3))
	p := newPools(func(string) (agents, error) { return fakeAgents{cluster}, nil }, slog.New(slog.DiscardHandler))
	if err := p.ready(t.Context()); err == nil {
		t.Error("ready without a pool")
	}
	p.set([]v1alpha1.StoragePool{poolResource("a", "n1", "n2"), poolResource("b", "n3")})
	if err := p.ready(t.Context()); err != nil {
		t.Errorf("all nodes are up: %v", err)
	}
	cluster.SetState("n1", agenttest.Off)
	if err := p.ready(t.Context()); err != nil {
		t.Errorf("one agent of each pool answers: %v", err)
	}
	cluster.SetState("n3", agenttest.AgentDown)
	if err := p.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "pool b") {
		t.Errorf("no agent of pool b answers: %v", err)
	}
}
