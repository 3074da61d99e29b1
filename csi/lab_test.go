//go:build lab

package csi

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/plain"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// newLabDriver starts a whole plugin in which everything is real: agents,
// glusterd and XFS quotas on the lab's nodes, and FUSE mounts on this host. When
// the test ends nothing of it may be left on any node.
func newLabDriver(t *testing.T) *driver {
	t.Helper()
	d := &driver{log: &logBuffer{}, backend: newLabBackend(t)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(d.log.String())
		}
	})
	before := onNodes(t)
	t.Cleanup(func() {
		waitUntil(t, "nothing is left on the nodes", func() bool { return slices.Equal(before, onNodes(t)) })
	})
	log := slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	mounts, err := mount.New(mount.Options{LogDir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	d.serve(t, NewController(lifecycle.New(onePool{d.backend}, log), log), mounts, log)
	return d
}

// newLabBackend returns the backend of the lab's pool.
func newLabBackend(t *testing.T) *plain.Backend {
	t.Helper()
	pools, err := pool.Load(lab.Current().PoolFile())
	if err != nil || len(pools) != 1 {
		t.Fatalf("%d pools, %v", len(pools), err)
	}
	p := pools[0]
	dir := filepath.Join(lab.Current().CertsDir(), "controller")
	dialer, err := agent.NewDialer(agent.DialOptions{Pool: p.Name, TLS: agent.TLSFiles{
		CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialer.Close() })
	config := plain.Config{Pool: p.Name, ClientNetworks: p.Spec.ClientNetworks, MaxOperations: p.Spec.MaxOperations}
	for _, n := range p.Spec.Nodes {
		client, err := dialer.Node(agent.Target{Node: n.Name, Address: n.Agent})
		if err != nil {
			t.Fatal(err)
		}
		node := plain.Node{Name: n.Name, Address: n.Address, Zone: n.Zone, Agent: client}
		for _, r := range n.Roots {
			node.Roots = append(node.Roots, r.Name)
		}
		config.Nodes = append(config.Nodes, node)
	}
	return plain.New(config, slog.New(slog.DiscardHandler))
}

// onNodes returns what of volumes can be seen on the nodes: Gluster volumes,
// brick directories, trash and quotas.
func onNodes(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, n := range lab.Current().Nodes() {
		out, err := lab.Current().Exec(context.WithoutCancel(t.Context()), n.Name, "sh", "-c",
			"gluster --mode=script volume list 2>&1 | grep -v 'No volumes present'; "+
				"ls -A /bricks/root1/volumes /bricks/root1/trash 2>&1; xfs_quota -x -c 'report -p -n -N' /bricks/root1 | awk '$4 > 0 {print $1, $4}'")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n.Name+": "+strings.TrimSpace(string(out)))
	}
	return all
}

func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("not in time: %s:\n%s", what, strings.Join(onNodes(t), "\n"))
		}
	}
}

// noClients fails the test where a FUSE process or a mount is left below dir.
func noClients(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "pgrep", "-af", "glusterfs .*"+dir).Output(); err == nil {
		t.Errorf("clients are left:\n%s", out)
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(table), dir) {
		t.Errorf("mounts are left below %s: %v", dir, err)
	}
}
