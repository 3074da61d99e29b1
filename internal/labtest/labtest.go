//go:build lab

package labtest

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/certs"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/lifecycle/lifecycletest"
	"bricklayer.csi/internal/pause"
	"bricklayer.csi/internal/plain"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/internal/volume/volumetest"
	"bricklayer.csi/lab"
)

// PoolName is the name of the lab's pool.
const PoolName = "lab"

// Config returns what the plain backend must know of the lab's pool, with
// clients of its agents that are closed when the test ends.
func Config(t testing.TB) plain.Config {
	t.Helper()
	l := lab.Current()
	pools, err := pool.Load(l.PoolFile())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(l.CertsDir(), "controller")
	dialer, err := agent.NewDialer(agent.DialOptions{Pool: PoolName, TLS: agent.TLSFiles{
		CA: filepath.Join(dir, certs.CAFile), Cert: filepath.Join(dir, certs.CertFile), Key: filepath.Join(dir, certs.KeyFile),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dialer.Close(); err != nil {
			t.Error(err)
		}
	})
	spec := pools[0].Spec
	config := plain.Config{Pool: PoolName, ClientNetworks: spec.ClientNetworks, BrickMultiplex: spec.BrickMultiplex, Guard: guard.SettingsOf(&spec)}
	for _, n := range spec.Nodes {
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
	return config
}

// Backend returns a plain backend over the lab, as a controller of its own has it.
func Backend(t testing.TB) *plain.Backend {
	t.Helper()
	return NewBackend(Config(t))
}

// NewBackend returns a plain backend of that configuration.
func NewBackend(c plain.Config) *plain.Backend { return plain.New(c, slog.New(slog.DiscardHandler)) }

// Service returns the use cases over a backend of its own.
func Service(t testing.TB) *lifecycle.Service {
	t.Helper()
	return lifecycletest.OnePool{Pool: PoolName, Name: volume.Plain, Backing: Backend(t)}.Service()
}

// trashTime bounds how long the agents may take to empty the trash of a test.
const trashTime = time.Minute

// Leftovers lists what is on the lab's nodes and belongs to a volume: Gluster
// volumes, brick directories, quotas, mounts of clients. It asks the nodes
// themselves, not our agents, and waits for the trash to be emptied.
func Leftovers(ctx context.Context) ([]string, error) {
	l := lab.Current()
	deadline := time.Now().Add(trashTime)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		left, err := leftovers(ctx, l)
		onlyTrash := !slices.ContainsFunc(left, func(s string) bool { return !strings.Contains(s, "/trash/") && !strings.Contains(s, " quota ") })
		if err != nil || len(left) == 0 || !onlyTrash || time.Now().After(deadline) {
			return left, err
		}
		if err := pause.For(ctx, wait); err != nil {
			return left, err
		}
	}
}

// look lists, on a node, one thing a line that belongs to a volume.
const look = `
for root in /bricks/*; do
  find "$root"/volumes "$root"/trash "$root"/archive "$root"/tmp -mindepth 1 -maxdepth 1 2>/dev/null
  xfs_quota -x -c 'report -p -n -N -b' "$root" | awk -v root="$root" '$1 != "#0" && ($2 > 0 || $4 > 0) {print root " quota " $0}'
done
true`

func leftovers(ctx context.Context, l *lab.Lab) ([]string, error) {
	var left []string
	for i, n := range l.Nodes() {
		script := look
		if i == 0 {
			script = "gluster volume list 2>/dev/null | sed 's/^/volume /' | grep -v 'No volumes'" + look
		}
		out, err := l.Exec(ctx, n.Name, "sh", "-c", script)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			left = append(left, n.Name+" "+strings.TrimSpace(line))
		}
	}
	return left, nil
}

// CheckEmpty fails the test where anything is left over.
func CheckEmpty(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*trashTime)
	defer cancel()
	left, err := Leftovers(ctx)
	if err != nil {
		t.Fatalf("look for leftovers: %v", err)
	}
	if len(left) > 0 {
		t.Errorf("left over on the nodes:\n%s", strings.Join(left, "\n"))
	}
}

// Spec returns the specification of a volume in the lab's pool; parameters are
// keys and values in turn.
func Spec(t testing.TB, name string, size volume.Size, parameters ...string) volume.Spec {
	t.Helper()
	return volumetest.Spec(t, name, size, append([]string{"pool", PoolName}, parameters...)...)
}

// Mount mounts a volume with the bare client command and unmounts it when the
// test ends. It returns the mount point.
func Mount(t testing.TB, v volume.Volume) string {
	t.Helper()
	l := lab.Current()
	target := filepath.Join(l.MountDir(), fmt.Sprintf("%s-%d", v.Handle.Name, time.Now().UnixNano()))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	log := target + ".log"
	for _, argv := range [][]string{
		{"mkdir", "-p", target},
		{"mount", "-t", "glusterfs", "-o", "log-file=" + log, v.Servers[0] + ":/" + v.Handle.Name, target},
	} {
		if out, err := l.Host(ctx, argv...); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := l.Host(ctx, "sh", "-c", `umount "$0" || umount -l "$0"; rmdir "$0"; rm -f "$0.log"`, target); err != nil {
			t.Errorf("unmount %s: %v\n%s", target, err, out)
		}
	})
	return target
}
