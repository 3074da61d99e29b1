//go:build lab

package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/agent/certs"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// labMembers returns the lab's real agents.
func labMembers(t *testing.T) []agenttest.Member {
	t.Helper()
	l := lab.Current()
	pools, err := pool.Load(l.PoolFile())
	if err != nil {
		t.Fatal(err)
	}
	p := pools[0]
	d := dialer(t, l.CertsDir(), p.Name)
	var members []agenttest.Member
	for _, n := range p.Spec.Nodes {
		c, err := d.Node(agent.Target{Node: n.Name, Address: n.Agent})
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, agenttest.Member{Node: c, Name: n.Name, Pool: p.Name, Address: n.Address, Root: n.Roots[0].Name})
	}
	return members
}

// TestLabNode holds the real agents to the suite that the fake passes.
func TestLabNode(t *testing.T) {
	agenttest.TestNode(t, labMembers)
	for _, n := range lab.Current().Nodes() {
		out, err := lab.Current().Exec(t.Context(), n.Name, "find", "/bricks", "-mindepth", "3", "-not", "-path", "*/lost+found*")
		if err != nil {
			t.Error(err)
		}
		if left := strings.TrimSpace(string(out)); left != "" {
			t.Errorf("left over on %s:\n%s", n.Name, left)
		}
	}
}

// TestLabCertificates calls an agent with the certificate of another CA.
func TestLabCertificates(t *testing.T) {
	members := labMembers(t)
	other := t.TempDir()
	makeCerts(t, other, members[0].Pool, "n1")
	d := dialer(t, other, members[0].Pool)
	c, err := d.Node(agent.Target{Node: members[0].Name, Address: members[0].Address + ":24010"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Describe(t.Context())
	if err == nil || !strings.Contains(err.Error(), "certificate") || !agent.Unsent(err) {
		t.Errorf("a controller of another CA: %v", err)
	}
	entries, err := certs.List(lab.Current().CertsDir())
	if err != nil || len(entries) < len(members)+2 {
		t.Errorf("certificates %v, %v", entries, err)
	}
}

// TestLabDaemonsDown takes glusterd and the agent of a node away.
func TestLabDaemonsDown(t *testing.T) {
	l, n := lab.Current(), labMembers(t)[2]
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	if err := l.KillGlusterd(ctx, n.Name); err != nil {
		t.Fatal(err)
	}
	d, err := n.Describe(ctx)
	if err != nil || d.GlusterdReady || d.GlusterVersion != "" || len(d.Problems) == 0 {
		t.Errorf("without glusterd: ready %t, problems %q, %v", d.GlusterdReady, d.Problems, err)
	}
	_, err = n.Volumes(ctx)
	t.Logf("volumes without glusterd: %v", err)
	if !refusedFor(err, "DaemonDown") {
		t.Errorf("got %v, want DaemonDown", err)
	}
	if err := l.StartGlusterd(ctx, n.Name); err != nil {
		t.Fatal(err)
	}
	awaitNode(ctx, t, "glusterd is ready", func() error {
		d, err := n.Describe(ctx)
		if err == nil && !d.GlusterdReady {
			err = fmt.Errorf("%q", d.Problems)
		}
		return err
	})
	if _, err := n.Volumes(ctx); err != nil {
		t.Errorf("describe said that glusterd is ready, but: %v", err)
	}

	// One that hangs takes connections and answers nothing.
	signal := func(name string) {
		t.Helper()
		if out, err := l.Exec(ctx, n.Name, "pkill", "-x", "-"+name, "glusterd"); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	}
	signal("STOP")
	d, err = n.Describe(ctx)
	signal("CONT")
	t.Logf("problems while glusterd hangs: %q", d.Problems)
	if err != nil || d.GlusterdReady {
		t.Errorf("while glusterd hangs: ready %t, %v", d.GlusterdReady, err)
	}

	if err := l.KillAgent(ctx, n.Name); err != nil {
		t.Fatal(err)
	}
	_, err = n.Peers(ctx)
	t.Logf("without agent: %v", err)
	if err == nil || !strings.Contains(err.Error(), "node "+n.Name) {
		t.Errorf("without agent: %v", err)
	}
	if err := l.StartAgent(ctx, n.Name); err != nil {
		t.Fatal(err)
	}
	awaitNode(ctx, t, "the agent answers", func() error { _, err := n.Peers(ctx); return err })
}

// TestLabQuotaRepair wipes a brick's project as a healed brick has none, and
// waits for the agent to put it right after its restart.
func TestLabQuotaRepair(t *testing.T) {
	l := lab.Current()
	members := labMembers(t)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 4*time.Minute)
	defer cancel()
	v := agenttest.StartedVolume(t, members, "agent-repair")
	defer v.Remove()
	path := v.Bricks[1].Path
	root := filepath.Dir(filepath.Dir(filepath.Dir(path)))
	before := v.Quota(t, 1)
	for _, argv := range [][]string{
		{"xfs_quota", "-x", "-c", fmt.Sprintf("limit -p bhard=0 %d", before.ProjectID), root},
		{"xfs_quota", "-x", "-c", fmt.Sprintf("project -C -p %s %d", path, before.ProjectID), root},
	} {
		if out, err := l.Exec(ctx, members[1].Name, argv...); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	}
	if lost := v.Quota(t, 1); lost.Quota.Bytes != 0 || lost.ProjectID != 0 {
		t.Fatalf("the quota is still %+v", lost)
	}
	if err := l.KillAgent(ctx, members[1].Name); err != nil {
		t.Fatal(err)
	}
	if err := l.StartAgent(ctx, members[1].Name); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	awaitNode(ctx, t, "the quota is back", func() error {
		all, err := members[1].Bricks(ctx, "agent-repair")
		if err == nil && (len(all) != 1 || all[0].Quota != before.Quota || all[0].ProjectID == 0) {
			err = fmt.Errorf("%+v", all)
		}
		return err
	})
	t.Logf("put right %v after the agent was started", time.Since(begun))
}
