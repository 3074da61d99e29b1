//go:build lab

package labtest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/pause"
	"bricklayer.csi/lab"
)

// heketiTime bounds how long the lab's heketi may take to start.
const heketiTime = 5 * time.Minute

// HeketiConfig returns what the heketi backend must know of the lab's heketi,
// which is started where it does not run. With agents the backend asks the
// lab's agents what Gluster has, as a controller's does.
func HeketiConfig(t testing.TB, agents bool) heketi.Config {
	t.Helper()
	l := lab.Current()
	ctx, cancel := context.WithTimeout(context.Background(), heketiTime)
	defer cancel()
	if err := l.EnsureHeketi(ctx); err != nil {
		t.Fatal(err)
	}
	c := heketi.Config{Pool: PoolName, URL: l.HeketiURL(), User: "admin", Key: heketi.FileKey(l.HeketiKeyFile())}
	if agents {
		config := Config(t)
		c.ClientNetworks = config.ClientNetworks
		nodes := heketi.AnyOf{}
		for _, n := range config.Nodes {
			nodes = append(nodes, n.Agent)
		}
		c.Gluster = nodes
	}
	return c
}

// Heketi returns a heketi backend over the lab, as a controller of its own has it.
func Heketi(t testing.TB, agents bool) *heketi.Backend {
	t.Helper()
	return NewHeketi(t, HeketiConfig(t, agents))
}

// NewHeketi returns a heketi backend of that configuration, which logs to the test.
func NewHeketi(t testing.TB, c heketi.Config) *heketi.Backend {
	t.Helper()
	b, err := heketi.New(c, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// lookHeketi lists, on a node, one thing a line that belongs to a volume of heketi's.
const lookHeketi = `
lvs --noheadings -o lv_name 2>/dev/null | sed 's/^ */lv /'
awk '/heketi/ {print "fstab " $2}' /etc/fstab
awk '/heketi/ {print "mount " $2}' /proc/mounts
gluster volume list 2>/dev/null | grep -v 'No volumes' | sed 's/^/volume /'
ls -d /var/lib/heketi/mounts/*/* 2>/dev/null | sed 's/^/directory /'
true`

// HeketiLeftovers lists what belongs to a volume of heketi's, on the nodes and
// in heketi's database. What heketi still works on is waited for.
func HeketiLeftovers(ctx context.Context) ([]string, error) {
	l := lab.Current()
	left, err := HeketiDumped(ctx, func(ctx context.Context) ([]byte, error) { return l.Heketi(ctx, "db", "dump") })
	if err != nil {
		return left, err
	}
	for _, n := range l.Nodes() {
		out, err := l.Exec(ctx, n.Name, "sh", "-c", lookHeketi)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			left = append(left, n.Name+" "+strings.TrimSpace(line))
		}
	}
	return left, nil
}

// HeketiDumped lists what heketi's own dump shows, once heketi is at work on nothing.
func HeketiDumped(ctx context.Context, dump func(context.Context) ([]byte, error)) ([]string, error) {
	for {
		out, err := dump(ctx)
		if err != nil {
			return nil, err
		}
		left, busy, err := inDump(out)
		if err != nil || !busy {
			return left, err
		}
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return left, err
		}
	}
}

// inDump lists what a dump shows, and whether heketi is at work.
func inDump(out []byte) (left []string, busy bool, err error) {
	var db struct {
		Volumes map[string]struct{ Info struct{ Name string } } `json:"volumeentries"`
		Bricks  map[string]any                                  `json:"brickentries"`
		Devices map[string]struct {
			Info struct{ Storage struct{ Used int64 } }
		} `json:"deviceentries"`
		Operations map[string]struct{ Status string } `json:"pendingoperations"`
	}
	if err := json.Unmarshal(out, &db); err != nil {
		return nil, false, err
	}
	for id, v := range db.Volumes {
		left = append(left, "heketi volume "+id+" "+v.Info.Name)
	}
	for id := range db.Bricks {
		left = append(left, "heketi brick "+id)
	}
	for id, d := range db.Devices {
		if d.Info.Storage.Used != 0 {
			left = append(left, fmt.Sprintf("heketi device %s used=%d", id, d.Info.Storage.Used))
		}
	}
	for id, o := range db.Operations {
		left = append(left, "heketi operation "+id+" "+o.Status)
		busy = busy || o.Status == ""
	}
	return left, busy, nil
}

// CheckHeketiEmpty fails the test where anything of heketi's is left over.
func CheckHeketiEmpty(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	left, err := HeketiLeftovers(ctx)
	if err != nil {
		t.Fatalf("look for leftovers: %v", err)
	}
	if len(left) > 0 {
		t.Errorf("left over:\n%s", strings.Join(left, "\n"))
	}
}
