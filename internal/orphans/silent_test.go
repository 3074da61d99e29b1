package orphans

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/volume"
)

// silence has these nodes not answer and returns what is still called orphaned.
func silence(t *testing.T, c *agenttest.Cluster, p Pool, state agenttest.State, nodes ...string) []string {
	t.Helper()
	for _, n := range nodes {
		c.SetState(n, state)
		defer c.SetState(n, agenttest.Up)
	}
	r := p.Look(testContext(t))
	if len(r.Unknown) != len(nodes) || !r.Silent() {
		t.Errorf("%v are silent, and unknown is %v", nodes, r.Unknown)
	}
	return names(r.Orphans)
}

func TestTheGreaterPartMustAnswer(t *testing.T) {
	c := agenttest.New(agenttest.Default(5))
	p := newPool(c)
	leaveBrick(t, c, "n3", "alone", "n3")
	if diff := cmp.Diff([]string{"brick-directory alone n3"}, silence(t, c, p, agenttest.Off, "n1", "n2")); diff != "" {
		t.Errorf("two of five are silent (-want +got):\n%s", diff)
	}
	if found := silence(t, c, p, agenttest.Off, "n1", "n2", "n4"); len(found) > 0 {
		t.Errorf("three of five are silent, and found %v", found)
	}
}

func TestSilentNodeOfAnUnfinishedVolume(t *testing.T) {
	c := agenttest.New(agenttest.Default(7))
	p := newPool(c)
	leaveHalf(t, c, p, agenttest.StartVolume)
	r := want(t, p, "unfinished-volume half")
	holds, apart := map[string]bool{}, []string{}
	for _, n := range c.Config().Nodes {
		there, err := c.Node(n.Name).Bricks(testContext(t), "half")
		holds[n.Name] = err == nil && len(there) > 0
		if !holds[n.Name] {
			apart = append(apart, n.Name)
		}
	}
	for _, n := range c.Config().Nodes {
		if found := silence(t, c, p, agenttest.AgentDown, n.Name); holds[n.Name] == (len(found) > 0) {
			t.Errorf("%s is silent, holds a brick: %t, and found %v", n.Name, holds[n.Name], found)
		}
	}
	if found := silence(t, c, p, agenttest.Off, apart...); len(found) > 0 {
		t.Errorf("%v of seven are silent, and found %v", apart, found)
	}
	remove(t, p, r.Orphans)
	c.CheckEmpty(t)
}

func TestSilentNodeOfAHeketiVolume(t *testing.T) {
	s := newHeketi(t)
	c := agenttest.New(agenttest.Default(7)) // heketi has the first three
	p := newHeketiPool(t, s, c)
	mustCreate(t, p.Heketi, "lost", "lvm", "true")
	s.RemoveGlusterVolume("lost")
	want(t, p, "only-in-heketi lost")
	if found := silence(t, c, p, agenttest.AgentDown, "n2"); len(found) > 0 {
		t.Errorf("a node of its bricks is silent, and found %v", found)
	}
	if found := silence(t, c, p, agenttest.AgentDown, "n5"); len(found) != 1 {
		t.Errorf("a node that has nothing of it is silent, and found %v", found)
	}
	if found := silence(t, c, p, agenttest.AgentDown, "n4", "n5", "n6", "n7"); len(found) > 0 {
		t.Errorf("four of seven are silent, and found %v", found)
	}
}

// relabelled is a node whose brick directories bear another mark.
type relabelled struct {
	*agenttest.Node
	handle string
}

func (n relabelled) Bricks(ctx context.Context, name string) ([]brick.Brick, error) {
	all, err := n.Node.Bricks(ctx, name)
	for i := range all {
		all[i].Mark.Handle = n.handle
	}
	return all, err
}

func TestBrickDirectoriesOfOthers(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	p := newPool(c)
	leaveBrick(t, c, "n1", "half", "n1")
	p.Nodes[0].Agent = relabelled{c.Node("n1"), "bl1.plain.other.half"}
	want(t, p)
	p.Nodes[0].Agent = relabelled{c.Node("n1"), "rubbish"}
	if r := p.Look(testContext(t)); len(r.Orphans) > 0 || len(r.Unknown) != 1 || !volume.Is(r.Unknown[0], volume.Precondition) || r.Silent() {
		t.Errorf("a mark that does not read: orphans %v, unknown %v", names(r.Orphans), r.Unknown)
	}
}
