package operator

import (
	"context"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/api/v1alpha1"
)

// Seen is what was seen of a pool at one moment, for whoever shows it elsewhere.
type Seen struct {
	Pool string
	// At is when the look ended.
	At time.Time
	// Nodes are those of the pool, in its order.
	Nodes []SeenNode
	// Status is what it means. Its names of volumes may be of earlier looks.
	Status v1alpha1.StoragePoolStatus
	// CertificateExpires is when our own certificate for the pool's agents ends; zero where unknown.
	CertificateExpires time.Time
}

// SeenNode is one storage node of a pool.
type SeenNode struct {
	// Name is the one in the pool.
	Name string
	// Reachable is true where its agent answered; else nothing below is known.
	Reachable bool
	agent.Description
	// Offset is how far its clock is ahead of ours.
	Offset time.Duration
}

// Look asks everything that serves a pool and judges it as an Operator does, for
// pools that no API server has. The status before is the one that the last look
// returned. A node that hangs costs its time limit once, not the others' answers.
func Look(ctx context.Context, p *v1alpha1.StoragePool, before v1alpha1.StoragePoolStatus, m Members) Seen {
	j := judge(p, before, observe(ctx, p, m))
	return j.shown(m)
}

// shown is the judgement for others, who may keep it. Nodes that nobody meant to
// ask, as those of an invalid pool, are not in it.
func (j *judgement) shown(m Members) Seen {
	s := Seen{Pool: j.pool.Name, At: time.Now(), Status: *j.status.DeepCopy(), CertificateExpires: m.CertificateExpires}
	for _, n := range j.pool.Spec.Nodes {
		seen, asked := j.seen.nodes[n.Name]
		if !asked && j.seen.err == nil {
			continue
		}
		node := SeenNode{Name: n.Name, Reachable: asked && seen.err == nil}
		if node.Reachable {
			node.Description, node.Offset = seen.Description, seen.offset
		}
		s.Nodes = append(s.Nodes, node)
	}
	return s
}
