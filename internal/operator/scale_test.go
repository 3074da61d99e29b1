package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bricklayer.csi/agent"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// still is an agent that says the same each time.
type still struct {
	Agent // nobody asks it for more
	agent.Description
	bricks []brick.Brick
	peers  []gluster.Peer
}

func (s *still) Describe(context.Context) (agent.Description, error) {
	d := s.Description
	d.Clock = time.Now()
	return d, nil
}
func (s *still) Bricks(context.Context, string) ([]brick.Brick, error) { return s.bricks, nil }
func (s *still) Peers(context.Context) ([]gluster.Peer, error)         { return s.peers, nil }

// large is a pool of many nodes with four roots each, and many replicated volumes.
func large(nodes, volumes int) (*v1alpha1.StoragePool, Members) {
	p := &v1alpha1.StoragePool{ObjectMeta: metav1.ObjectMeta{Name: "large"}}
	m := Members{Agents: map[string]Agent{}}
	agents := make([]*still, nodes)
	var peers []gluster.Peer
	for i := range nodes {
		n := v1alpha1.StorageNode{Name: fmt.Sprintf("n%d", i), Address: fmt.Sprintf("storage-%d.example.org", i)}
		agents[i] = &still{Description: agent.Description{Node: n.Name, Version: "v0.1.0", GlusterVersion: "10.3", GlusterdReady: true}}
		for r := range 4 {
			name := fmt.Sprintf("r%d", r)
			n.Roots = append(n.Roots, v1alpha1.BrickRoot{Name: name, Path: "/bricks/" + name})
			agents[i].Roots = append(agents[i].Roots, brick.RootState{
				Name: name, Quota: true, Total: 4 << 40, Free: 3 << 40, Committed: 1 << 40, Available: 3 << 40, Bricks: 30,
			})
		}
		peers = append(peers, gluster.Peer{Hostname: n.Address, Names: []string{n.Address}, Connected: true, State: gluster.InCluster})
		p.Spec.Nodes = append(p.Spec.Nodes, n)
		m.Agents[n.Name] = agents[i]
	}
	for v := range volumes {
		name := fmt.Sprintf("bl-%032d", v)
		h := volume.Handle{Backend: volume.Plain, Pool: p.Name, Name: name}
		for c := range 3 {
			a := agents[(v*3+c)%nodes]
			a.bricks = append(a.bricks, brick.Brick{Ref: brick.Ref{Root: fmt.Sprintf("r%d", v%4), Volume: name}, Mark: brick.Mark{Handle: h.String()}})
		}
	}
	for i, a := range agents {
		a.peers = slices.Clone(peers)
		a.peers[i] = gluster.Peer{Hostname: "localhost", Local: true, Connected: true, State: gluster.InCluster}
	}
	p.SetDefaults()
	return p, m
}

// The status of the largest pool fits an object of Kubernetes, of 1.5 MB.
func TestStatusOfALargePoolFits(t *testing.T) {
	p, m := large(500, 20_000)
	j := judge(p, v1alpha1.StoragePoolStatus{}, observe(t.Context(), p, m))
	if got := wrong(j.status); got != "ClientsRestricted/Open" || j.status.Volumes.Plain != 20_000 {
		t.Errorf("conditions: %s; volumes: %+v", got, j.status.Volumes)
	}
	p.Status = j.status
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("500 nodes, 2000 roots, 20,000 volumes: %d bytes", len(text))
	if len(text) > 1<<20 {
		t.Errorf("the object has %d bytes", len(text))
	}
}

func BenchmarkReconcile500Nodes20000Volumes(b *testing.B) {
	p, m := large(500, 20_000)
	b.ReportAllocs()
	for b.Loop() {
		judge(p, v1alpha1.StoragePoolStatus{}, observe(b.Context(), p, m))
	}
}
