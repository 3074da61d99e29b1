package top_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/agent"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/operator"
	"bricklayer.csi/internal/top"
	"bricklayer.csi/internal/volume"
)

// node is an agent that says what a test wants.
type node struct {
	operator.Agent // nobody asks it for more
	agent.Description
	bricks []brick.Brick
	// hangs is a node that does not answer.
	hangs bool
}

func (n *node) Describe(ctx context.Context) (agent.Description, error) {
	if n.hangs {
		<-ctx.Done()
		return agent.Description{}, context.Cause(ctx)
	}
	return n.Description, nil
}

func (n *node) Bricks(context.Context, string) ([]brick.Brick, error) { return n.bricks, nil }
func (n *node) Peers(context.Context) ([]gluster.Peer, error)         { return nil, nil }

func well(name string, used volume.Size) *node {
	return &node{Description: agent.Description{
		Node: name, Pool: "fast", Protocol: agent.Protocol, GlusterdReady: true, MemoryTotal: 8 << 30, MemoryAvailable: 2 << 30, MemoryPressure: -1,
		BrickProcesses: 2, Clock: time.Now(), ClockSynchronised: true,
		Roots: []brick.RootState{{
			Name: "r1", Path: "/bricks/r1", FileSystem: "xfs", Quota: true, Total: 100 * volume.GiB, Free: 100*volume.GiB - used, Available: 90 * volume.GiB, Committed: 10 * volume.GiB,
		}},
	}}
}

func pool(agents map[string]operator.Agent) top.Watched {
	w := top.Watched{Members: operator.Members{Agents: agents}}
	w.Resource.Name = "fast"
	for _, name := range []string{"n1", "n2"} {
		w.Resource.Spec.Nodes = append(w.Resource.Spec.Nodes, v1alpha1.StorageNode{
			Name: name, Address: "10.0.0." + name[1:], Roots: []v1alpha1.BrickRoot{{Name: "r1", Path: "/bricks/r1"}},
		})
	}
	return w
}

// A node that hangs costs its time limit, and nobody else's figures; what grew
// between two looks is told as a rate.
func TestLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n1, n2 := well("n1", 10*volume.GiB), &node{hangs: true}
		pools := []top.Watched{pool(map[string]operator.Agent{"n1": n1, "n2": n2})}
		var w top.Watcher
		began := time.Now()
		v := w.Look(t.Context(), pools, 3*time.Second)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("it took %v, want the time limit of one question", took)
		}
		nodes := v.Pools[0].Nodes
		if !nodes[0].Reachable || nodes[0].WrittenPerSecond != nil || nodes[1].Reachable || len(nodes[1].Roots) != 0 {
			t.Errorf("the first look shows %+v", nodes)
		}
		n1.Roots[0].Free -= 6 * volume.GiB
		v = w.Look(t.Context(), pools, 3*time.Second)
		nodes = v.Pools[0].Nodes
		if d := cmp.Diff(new(int64(2*volume.GiB)), nodes[0].WrittenPerSecond); d != "" || nodes[1].WrittenPerSecond != nil {
			t.Errorf("6 GiB in 3 s:\n%s", d)
		}
	})
}

// No name and no message moves the cursor of the terminal.
func TestTextIsHarmless(t *testing.T) {
	const evil = "\x1b[2Jgone\r\n\t\u202efast"
	v := top.View{Pools: []top.Pool{{
		Name: evil, Troubles: []string{evil}, Stores: []top.Store{{Kind: top.Plain}},
		Nodes: []top.Node{{Name: evil, Reachable: true, Roots: []top.Root{{Name: evil, Problem: evil}}}, {Name: evil}},
	}}}
	var b bytes.Buffer
	if err := v.Text(&b); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\r\t\u202e") || strings.Count(b.String(), "\n") != 11 {
		t.Errorf("got %q", b.String())
	}
}

func TestSizesForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1536: "1.5KiB", -2 << 20: "-2MiB", 250 << 30: "250GiB", 1 << 62: "4EiB"} {
		v := top.View{Pools: []top.Pool{{Name: "p", Stores: []top.Store{{Kind: top.Plain, RawBytes: &n}}}}}
		var b bytes.Buffer
		if err := v.Text(&b); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), "  "+want+"  ") {
			t.Errorf("%d is not shown as %s:\n%s", n, want, &b)
		}
	}
}
