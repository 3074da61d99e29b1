// Package agenttest owns the stand-in for a cluster of storage nodes: N nodes
// in memory, each an agent.Node, that share one fake Gluster, with every fault
// that a real cluster has shown; and the suite that both the fake and real
// agents must pass (TestNode), without which the fake would be worth nothing.
//
// It refuses to know what a volume is for: it keeps to what the verbs of
// agent.Node promise. It has no clock of its own and no chance in it: the same
// calls give the same answers.
package agenttest

import (
	"fmt"
	"sync"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// Config describes a fake cluster.
type Config struct {
	Pool  string
	Nodes []NodeConfig
	// KeepTrash leaves removed bricks in the trash until EmptyTrash; else they
	// are gone at once.
	KeepTrash bool
	// Now is the nodes' clock; nil means time.Now.
	Now func() time.Time
}

// NodeConfig describes one storage node.
type NodeConfig struct {
	Name string
	// Address is what bricks of this node are called in Gluster.
	Address string
	Zone    string
	Roots   []RootConfig
}

// RootConfig describes one brick root.
type RootConfig struct {
	Name, Path string
	// Size is the file system's, in bytes.
	Size volume.Size
	// NoQuota is a file system that cannot hold project quotas.
	NoQuota bool
}

// Default returns the configuration of a cluster shaped like the lab's: nodes
// n1.., addresses 10.90.0.11.., zones z1.., each with one root of 20 GiB.
func Default(nodes int) Config {
	c := Config{Pool: "lab"}
	for i := range nodes {
		c.Nodes = append(c.Nodes, NodeConfig{
			Name:    fmt.Sprintf("n%d", i+1),
			Address: fmt.Sprintf("10.90.0.%d", i+11),
			Zone:    fmt.Sprintf("z%d", i+1),
			Roots:   []RootConfig{{Name: "root1", Path: "/bricks/root1", Size: 20 * volume.GiB}},
		})
	}
	return c
}

// Cluster is a fake cluster. It is safe for concurrent use.
type Cluster struct {
	cfg Config

	mu      sync.Mutex
	nodes   []*Node
	volumes map[string]*fakeVolume
	// options are those of the whole cluster ("all").
	options map[string]string
	// locked are the volumes with a transaction in progress.
	locked map[string]bool
	hook   Hook
	calls  int
	nextID int
}

// New returns a cluster of empty nodes, all up.
func New(cfg Config) *Cluster {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Cluster{cfg: cfg, volumes: map[string]*fakeVolume{}, options: map[string]string{}, locked: map[string]bool{}}
	for _, nc := range cfg.Nodes {
		n := &Node{c: c, cfg: nc, clockSynchronised: true, memory: defaultMemory}
		n.check = agent.Checker{Pool: cfg.Pool, Node: nc.Name}
		for i, rc := range nc.Roots {
			n.check.Roots = append(n.check.Roots, rc.Name)
			n.roots = append(n.roots, &root{
				cfg: rc, mounted: true, id: fmt.Sprintf("%s-%s-%04d", nc.Name, rc.Name, i),
				bricks: map[string]*fakeBrick{},
			})
		}
		c.nodes = append(c.nodes, n)
	}
	return c
}

// Node returns the node of that name, or nil.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.nodes {
		if n.cfg.Name == name {
			return n
		}
	}
	return nil
}

// Nodes returns all nodes in the order of the configuration.
func (c *Cluster) Nodes() []agent.Node {
	all := make([]agent.Node, len(c.nodes))
	for i, n := range c.nodes {
		all[i] = n
	}
	return all
}

// Config returns the configuration with its defaults filled in.
func (c *Cluster) Config() Config { return c.cfg }

// byAddress returns the node whose bricks Gluster calls that, or nil.
func (c *Cluster) byAddress(host string) *Node {
	for _, n := range c.nodes {
		if n.cfg.Address == host {
			return n
		}
	}
	return nil
}

// root is one brick root of a node.
type root struct {
	cfg     RootConfig
	id      string
	mounted bool
	// blank is a file system without a marker; found is what is on it.
	blank   bool
	found   []string
	bricks  map[string]*fakeBrick // by volume: ROOT/volumes/NAME
	trash   []*fakeBrick
	archive []*fakeBrick
	// foreign is what others have written to the file system, in bytes.
	foreign volume.Size
}

// fakeBrick is one brick directory with what is on it.
type fakeBrick struct {
	mark      brick.Mark
	ref       brick.Ref
	quota     brick.Quota
	projectID uint32
	used      volume.Size
	inodes    int64
	gid       int
	mode      uint32
	// volumeID is trusted.glusterfs.volume-id: it stays when the volume is gone.
	volumeID string
	// wiped is a brick whose quota was lost.
	wiped bool
	// dead is a brick process that was killed.
	dead bool
	// pending and splitBrain are what heal info says.
	pending, splitBrain int64
}

// fakeVolume is a Gluster volume.
type fakeVolume struct {
	id      string
	request gluster.CreateRequest
	status  gluster.Status
	// missed is a node that was away while the volume was started and takes it for
	// what it was before; empty where there is none.
	missed  string
	options map[string]string
}

func (r *root) find(volumeName string) *fakeBrick { return r.bricks[volumeName] }

// committed is the sum of all quotas on the root, trash and archive included.
func (r *root) committed() volume.Size {
	var sum volume.Size
	r.each(func(_ string, b *fakeBrick) { sum += b.quota.Bytes })
	return sum
}

func (r *root) used() volume.Size {
	sum := r.foreign
	r.each(func(_ string, b *fakeBrick) { sum += b.used })
	return sum
}

// each calls do for every directory that carries a project: bricks, trash, archive.
func (r *root) each(do func(where string, b *fakeBrick)) {
	for _, b := range r.bricks {
		do("volumes", b)
	}
	for _, b := range r.trash {
		do("trash", b)
	}
	for _, b := range r.archive {
		do("archive", b)
	}
}
