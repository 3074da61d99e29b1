//go:build lab

package operator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/lab"
)

// realPool is the lab's pool and its agents.
func realPool(t *testing.T) (*v1alpha1.StoragePool, Members) {
	t.Helper()
	pools, err := pool.Load(lab.Current().PoolFile())
	if err != nil {
		t.Fatal(err)
	}
	m := Members{Agents: map[string]Agent{}}
	for _, n := range labtest.Config(t).Nodes {
		m.Agents[n.Name] = n.Agent
	}
	return &pools[0], m
}

// look waits until a look at the pool is as it must be, and does what that asks for
// after each, as an Operator does.
func look(t *testing.T, what string, p *v1alpha1.StoragePool, m Members, ok func(seen observation, j judgement) string) (deeds []deed) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for again := time.NewTicker(time.Second); ; {
		seen := observe(ctx, p, m)
		seen.deeds = tend(ctx, p, m, seen)
		deeds = append(deeds, seen.deeds...)
		wrong := ok(seen, judge(p, v1alpha1.StoragePoolStatus{}, seen))
		if wrong == "" && len(seen.deeds) == 0 {
			again.Stop()
			t.Logf("%s after %v", what, time.Since(began).Round(100*time.Millisecond))
			return deeds
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s: not so after %v: %s; done: %+v", what, time.Since(began).Round(time.Second), wrong, deeds)
		}
	}
}

func run(t *testing.T, node, script string) string {
	t.Helper()
	out, err := lab.Current().Exec(context.WithoutCancel(t.Context()), node, "sh", "-ec", script)
	if err != nil {
		t.Fatalf("%s: %s: %v\n%s", node, script, err, out)
	}
	return strings.TrimSpace(string(out))
}

func fine(_ observation, j judgement) string {
	if len(j.faults)+len(j.unenforced) == 0 {
		return ""
	}
	return fmt.Sprint(j.faults, j.unenforced)
}

// A node that is no peer is probed, by a real glusterd.
func TestRealPeerIsProbed(t *testing.T) {
	p, m := realPool(t)
	p.Spec.ManagePeers = true
	look(t, "all is well", p, m, fine)
	last := p.Spec.Nodes[len(p.Spec.Nodes)-1]
	first := p.Spec.Nodes[0].Name
	run(t, first, "gluster --mode=script peer detach "+last.Address)
	t.Cleanup(func() { run(t, first, "gluster --mode=script peer probe "+last.Address) })

	lone := observe(t.Context(), p, m)
	if j := judge(p, v1alpha1.StoragePoolStatus{}, lone); len(j.faults) != 1 || j.faults[0].reason != "PeerMissing" {
		t.Errorf("without %s: %+v", last.Name, j.faults)
	}
	deeds := look(t, "it is a peer again", p, m, fine)
	if len(deeds) != 1 || deeds[0].refused || deeds[0].node != last.Name || deeds[0].reason != peerProbed {
		t.Errorf("done: %+v", deeds)
	}
}

// A disk is replaced as the guide pools-in-kubernetes says, with initRoots: the root
// is made anew, the brick healed, its mark and its quota given back.
func TestRealDiskIsReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("the parts are tested by themselves: roots by the agents' suite, lost quotas by package brick")
	}
	ctx := t.Context()
	p, m := realPool(t)
	p.Spec.InitRoots = true
	service, l := labtest.Service(t), lab.Current()
	v, err := service.Create(ctx, labtest.Spec(t, "replaced-disk", 256*volume.MiB))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := service.Delete(context.WithoutCancel(ctx), v.Handle); err != nil {
			t.Error(err)
		}
	})
	mounted := labtest.Mount(t, v)
	if err := os.WriteFile(filepath.Join(mounted, "precious"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}

	const root = "/bricks/root1"
	node := p.Spec.Nodes[1]
	name := v.Handle.Name
	at := root + "/volumes/" + name + "/brick"
	reset := fmt.Sprintf("gluster --mode=script volume reset-brick %s %s:%s ", name, node.Address, at)
	run(t, node.Name, reset+"start")
	if err := l.KillAgent(ctx, node.Name); err != nil {
		t.Fatal(err)
	}
	// With a file in it the lab's own start of the agent leaves the root as it is.
	run(t, node.Name, fmt.Sprintf(`findmnt -rno SOURCE,OPTIONS %[1]s >/run/mounted; umount %[1]s
read -r source options </run/mounted; mkfs.xfs -q -f -K "$source"; mount -o "$options" "$source" %[1]s; touch %[1]s/not-yet`, root))
	if err := l.StartAgent(ctx, node.Name); err != nil {
		t.Fatal(err)
	}
	refused := look1(t, p, m)
	if len(refused) != 1 || !refused[0].refused || !strings.Contains(refused[0].text, "not-yet") {
		t.Errorf("with a file on it: %+v", refused)
	}
	run(t, node.Name, "rm "+root+"/not-yet")
	deeds := look(t, "the new disk is a root", p, m, func(seen observation, j judgement) string {
		if names := j.status.InUse[node.Name+"/root1"]; !strings.Contains(names, name) {
			return fmt.Sprintf("the volume that had a brick there is not in %q", names)
		}
		return stateOf(seen.nodes[node.Name], "root1").Problem
	})
	if len(deeds) != 1 || deeds[0].refused || deeds[0].reason != rootInitialised {
		t.Errorf("done: %+v", deeds)
	}

	run(t, node.Name, fmt.Sprintf("install -d -m 700 %s/volumes/%s %s; %s %s:%s commit force", root, name, at, reset, node.Address, at))
	look(t, "the brick is healed", p, m, func(observation, judgement) string {
		return run(t, node.Name, "cat "+at+"/precious 2>&1 | grep -vx kept || true")
	})
	// It looks for lost quotas when it begins; else every ten minutes.
	if err := l.KillAgent(ctx, node.Name); err != nil {
		t.Fatal(err)
	}
	if err := l.StartAgent(ctx, node.Name); err != nil {
		t.Fatal(err)
	}
	look(t, "its size is held to again", p, m, func(seen observation, j judgement) string {
		for _, b := range seen.nodes[node.Name].bricks {
			if b.Ref == (brick.Ref{Root: "root1", Volume: name}) && b.Quota.Bytes > 0 && b.Mark.Handle == v.Handle.String() {
				return fine(seen, j)
			}
		}
		return fmt.Sprintf("bricks %+v", seen.nodes[node.Name].bricks)
	})
}

// look1 looks once, and does what that asks for.
func look1(t *testing.T, p *v1alpha1.StoragePool, m Members) []deed {
	t.Helper()
	return tend(t.Context(), p, m, observe(t.Context(), p, m))
}
