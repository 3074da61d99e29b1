package orphans

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// answer is what one node says.
type answer struct {
	node    Node
	bricks  []brick.Brick
	volumes []gluster.Volume
	peers   []gluster.Peer
	err     error
}

// directory is a brick directory of this pool, and where it is.
type directory struct {
	node   Node
	handle volume.Handle
	brick.Brick
}

func (d directory) gluster() string {
	return gluster.Brick{Host: d.node.Address, Path: d.Path}.String()
}

// sight is the whole pool at one moment, as far as it answered.
type sight struct {
	pool        Pool
	directories []directory
	// byBrick are the directories by the name that Gluster has for them.
	byBrick map[string]directory
	// volumes are those that any node's glusterd knows, by name.
	volumes map[string]gluster.Volume
	// used are the bricks of all volumes, as HOST:PATH.
	used map[string]bool
	// elsewhere are the paths of bricks on hosts that are none of the pool's
	// nodes by name: such a host may be one of them under another name.
	elsewhere map[string]bool
	// addresses are the nodes' names by their addresses.
	addresses map[string]string
	// peers are all names by which glusterd knows its peers.
	peers map[string]bool
	// silent are the nodes that did not answer everything, by name.
	silent map[string]bool
	// heketi are the volumes that heketi has whole, by handle; nil where it could not be asked.
	heketi map[volume.Handle]volume.Volume
}

// Look looks the pool over. The order matters: directories are read before
// heketi's database, and that before Gluster's volumes, so that a volume which
// is made meanwhile is never taken for missing in Gluster. Who stands for volumes
// is asked last, because that is known before they are made. One that is deleted
// meanwhile may be: therefore nothing is removed that was seen only once.
func (p Pool) Look(ctx context.Context) Report {
	var r Report
	answers := p.askNodes(func(a *answer) { a.bricks, a.err = a.node.Agent.Bricks(ctx, "") }, nil)
	heketi := p.askHeketi(ctx, &r)
	answers = p.askNodes(func(a *answer) {
		if a.err != nil {
			return
		}
		if a.volumes, a.err = a.node.Agent.Volumes(ctx); a.err != nil {
			return
		}
		if a.peers, a.err = a.node.Agent.Peers(ctx); a.err == nil {
			a.err = p.trust(a)
		}
	}, answers)
	s := p.see(answers, &r)
	s.heketi = heketi
	s.judgeVolumes(ctx, &r)
	s.judgeDirectories(&r)
	s.judgeHeketi(&r)
	s.judgeClaims(ctx, &r)
	r.sort()
	return r
}

// askNodes asks all nodes at once, going on with what they answered before.
func (p Pool) askNodes(ask func(*answer), answers []answer) []answer {
	if answers == nil {
		answers = make([]answer, len(p.Nodes))
		for i, n := range p.Nodes {
			answers[i].node = n
		}
	}
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { ask(&answers[i]) })
	}
	wg.Wait()
	return answers
}

// trust refuses the word of a glusterd that has lost its configuration, as on a
// node that was installed anew: it would say that there are no volumes.
func (p Pool) trust(a *answer) error {
	if len(a.peers) >= len(p.Nodes) {
		return nil
	}
	return &volume.Error{
		Kind: volume.Unavailable, Op: "list volumes", On: "node " + a.node.Name,
		Err:  fmt.Errorf("its glusterd knows %d nodes, the pool has %d: what it does not know of may exist", len(a.peers), len(p.Nodes)),
		Next: "see gluster peer status there, and mend it",
	}
}

func (p Pool) askHeketi(ctx context.Context, r *Report) map[volume.Handle]volume.Volume {
	if p.Heketi == nil {
		return nil
	}
	on := "pool " + p.Name
	if len(p.Nodes) == 0 {
		r.Unknown = append(r.Unknown, &volume.Error{
			Kind: volume.Precondition, Op: "compare heketi with Gluster", On: on,
			Err: errors.New("the pool has no agents that could be asked what Gluster has"),
		})
		return nil
	}
	all, err := p.Heketi.List(ctx, p.Name)
	if err != nil {
		r.Unknown = append(r.Unknown, err)
		return nil
	}
	heketi := make(map[volume.Handle]volume.Volume, len(all))
	for _, v := range all {
		heketi[v.Handle] = v
	}
	return heketi
}

// see puts the nodes' answers together.
func (p Pool) see(answers []answer, r *Report) *sight {
	s := &sight{
		pool: p, byBrick: map[string]directory{}, volumes: map[string]gluster.Volume{}, used: map[string]bool{},
		elsewhere: map[string]bool{}, addresses: map[string]string{}, peers: map[string]bool{}, silent: map[string]bool{},
	}
	for _, n := range p.Nodes {
		s.addresses[n.Address] = n.Name
	}
	for _, a := range answers {
		if a.err != nil {
			r.Unknown = append(r.Unknown, a.err)
			s.silent[a.node.Name] = true
		}
		// What a node does say counts, even where it is not all: it can only
		// show that something belongs to somebody.
		for _, v := range a.volumes {
			s.addVolume(v)
		}
		for _, peer := range a.peers {
			for _, name := range append(peer.Names, peer.Hostname) {
				s.peers[strings.ToLower(name)] = true
			}
		}
		for _, b := range a.bricks {
			s.addDirectory(a.node, b, r)
		}
	}
	return s
}

// addVolume takes a volume in. Where two nodes differ about its state, as while
// it is being started, the one that has it further counts.
func (s *sight) addVolume(v gluster.Volume) {
	if old, known := s.volumes[v.Name]; !known || old.Status == gluster.StatusCreated {
		s.volumes[v.Name] = v
	}
	for _, b := range v.Bricks {
		s.used[b.String()] = true
		if _, ours := s.addresses[b.Host]; !ours {
			s.elsewhere[b.Path] = true
		}
	}
}

func (s *sight) addDirectory(n Node, b brick.Brick, r *Report) {
	h, err := volume.ParseHandle(b.Mark.Handle)
	switch {
	case err != nil:
		r.Unknown = append(r.Unknown, &volume.Error{
			Kind: volume.Precondition, Op: "judge a brick directory", On: "node " + n.Name + ", " + b.Path,
			Err: fmt.Errorf("its mark names no volume: %w", err), Next: "find out whose it is and move it away by hand",
		})
	case h.Pool == s.pool.Name:
		d := directory{node: n, handle: h, Brick: b}
		s.directories = append(s.directories, d)
		s.byBrick[d.gluster()] = d
	}
}
