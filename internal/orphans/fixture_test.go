package orphans

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/heketi/heketitest"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/plain"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/internal/volume/volumetest"
)

// newPool returns a pool over a fake cluster.
func newPool(c *agenttest.Cluster) Pool {
	p := Pool{Name: "lab"}
	config := plain.Config{Pool: "lab", Guard: guard.Settings{Operations: 4}}
	for i, n := range c.Config().Nodes {
		p.Nodes = append(p.Nodes, Node{Name: n.Name, Address: n.Address, Agent: c.Nodes()[i]})
		config.Nodes = append(config.Nodes, plain.Node{Name: n.Name, Address: n.Address, Zone: n.Zone, Roots: []string{"root1"}, Agent: c.Nodes()[i]})
	}
	p.Plain = plain.New(config, slog.New(slog.DiscardHandler))
	return p
}

// heketiNode is a node whose Gluster is the one below a fake heketi.
type heketiNode struct {
	agent.Node
	*heketitest.Gluster
}

func (n heketiNode) Peers(ctx context.Context) ([]gluster.Peer, error) { return n.Node.Peers(ctx) }

func (n heketiNode) Volumes(ctx context.Context) ([]gluster.Volume, error) {
	return n.Gluster.Volumes(ctx)
}

func (n heketiNode) Volume(ctx context.Context, name string) (gluster.Volume, error) {
	return n.Gluster.Volume(ctx, name)
}

func (n heketiNode) VolumeStatus(ctx context.Context, name string) ([]gluster.BrickStatus, error) {
	return n.Gluster.VolumeStatus(ctx, name)
}

func (n heketiNode) HealInfo(ctx context.Context, name string) ([]gluster.BrickHeal, error) {
	return n.Gluster.HealInfo(ctx, name)
}

func (n heketiNode) StopVolume(ctx context.Context, name string) error {
	return n.Gluster.StopVolume(ctx, name)
}

func (n heketiNode) DeleteVolume(ctx context.Context, name string) error {
	return n.Gluster.DeleteVolume(ctx, name)
}

type key volume.Secret

func (k key) Key(context.Context) (volume.Secret, error) { return volume.Secret(k), nil }

// newHeketiPool returns a pool over a fake heketi and the agents of its nodes.
func newHeketiPool(t *testing.T, s *heketitest.Server, c *agenttest.Cluster) Pool {
	t.Helper()
	p := newPool(c)
	for i := range p.Nodes {
		p.Nodes[i].Agent = heketiNode{p.Nodes[i].Agent, s.Gluster()}
	}
	b, err := heketi.New(heketi.Config{
		Pool: "lab", URL: s.URL(), User: "admin", Key: key("adminkey"), MaxInFlight: 4, Gluster: s.Gluster(),
		Timing: heketi.Timing{FirstPoll: time.Millisecond, LastPoll: 10 * time.Millisecond, Request: 5 * time.Second, Cache: time.Nanosecond},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p.Heketi, p.Plain = b, nil
	return p
}

func newHeketi(t *testing.T) *heketitest.Server {
	t.Helper()
	s := heketitest.New(heketitest.Default(3))
	t.Cleanup(s.Close)
	return s
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func spec(t *testing.T, name string, parameters ...string) volume.Spec {
	t.Helper()
	return volumetest.Spec(t, name, volume.GiB, append([]string{"pool", "lab"}, parameters...)...)
}

func mustCreate(t *testing.T, b volume.Backend, name string, parameters ...string) volume.Volume {
	t.Helper()
	v, err := b.Create(testContext(t), spec(t, name, parameters...))
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return v
}

// leaveBrick puts a brick directory on a node that no volume came of.
func leaveBrick(t *testing.T, c *agenttest.Cluster, node, name string, layout ...string) brick.Brick {
	t.Helper()
	kind := "none"
	if len(layout) > 1 {
		kind = fmt.Sprintf("replicate:%d", len(layout))
	}
	m := mark.Volume{
		Handle: volume.Handle{Backend: volume.Plain, Pool: "lab", Name: name}, Size: volume.GiB,
		Fingerprint: "0123456789abcdef", GID: volume.MinGID,
	}.Brick()
	m.Type = kind
	for _, n := range layout {
		m.Layout = append(m.Layout, brick.Place{Node: n, Root: "root1"})
	}
	b, err := c.Node(node).MakeBrick(testContext(t), brick.MakeRequest{
		Ref: brick.Ref{Root: "root1", Volume: name}, Mark: m, Quota: brick.Quota{Bytes: volume.GiB}, Enforce: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// names lists entries as "KIND NAME NODE".
func names(entries []Entry) []string {
	out := []string{}
	for _, e := range entries {
		line := string(e.Kind) + " " + e.Name
		if e.Node != "" {
			line += " " + e.Node
		}
		out = append(out, line)
	}
	return out
}

// want fails the test unless a look finds these orphans, and everything answers.
func want(t *testing.T, p Pool, orphans ...string) Report {
	t.Helper()
	r := p.Look(testContext(t))
	if len(r.Unknown) > 0 {
		t.Errorf("unknown: %v", r.Unknown)
	}
	if diff := cmp.Diff(append([]string{}, orphans...), names(r.Orphans)); diff != "" {
		t.Errorf("orphans (-want +got):\n%s", diff)
	}
	return r
}

// remove removes all that a report has, and fails the test where that fails.
func remove(t *testing.T, p Pool, entries []Entry) {
	t.Helper()
	for _, e := range entries {
		if err := p.Remove(testContext(t), e)[0]; err != nil {
			t.Errorf("remove %s %s: %v", e.Kind, e.Name, err)
		}
	}
}
