package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/heketi/heketitest"
	"bricklayer.csi/internal/mark"
	"bricklayer.csi/internal/volume"
)

// heketiPool writes a pool file that names a heketi, and returns its key's file.
func (c *command) heketiPool(t *testing.T, pool string, s *heketitest.Server, more ...string) (keyFile string) {
	t.Helper()
	keyFile = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte("adminkey\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := pool + "  heketi: {url: " + s.URL() + ", user: admin, keyFile: " + keyFile + strings.Join(more, "") + "}\n"
	if err := os.WriteFile(c.env["BRICKLAYER_POOLS"], []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return keyFile
}

// heketiOnly is a pool without storage nodes of its own.
const heketiOnly = `apiVersion: bricklayer.csi/v1alpha1
kind: StoragePool
metadata: {name: lab}
spec:
  clientNetworks: [10.90.0.0/24]
`

// TestPoolCheckOfHeketi takes heketi through what may be wrong with it.
func TestPoolCheckOfHeketi(t *testing.T) {
	elsewhere := heketitest.Default(3)
	for i := range elsewhere.Clusters[0].Nodes {
		elsewhere.Clusters[0].Nodes[i].Host = fmt.Sprintf("192.0.2.%d", i+1)
	}
	empty := heketitest.Default(3)
	for i := range empty.Clusters[0].Nodes {
		empty.Clusters[0].Nodes[i].Devices = nil
	}
	tests := []struct {
		name   string
		config heketitest.Config
		// pool is the file without its heketi; more goes into its heketi.
		pool, more string
		prepare    func(t *testing.T, c *command, s *heketitest.Server, keyFile string)
		code       int
		// want are parts of the findings, in their order, each after its severity.
		want []string
	}{
		{name: "as it should be"},
		{name: "no agents", pool: heketiOnly, want: []string{"warning: the pool has no storage nodes of its own"}},
		{name: "wrong key", code: exitFailed, want: []string{"error: signature is invalid"}, prepare: func(t *testing.T, _ *command, _ *heketitest.Server, keyFile string) {
			t.Helper()
			if err := os.WriteFile(keyFile, []byte("s3cret"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "no key", code: exitFailed, want: []string{"error: no such file"}, prepare: func(t *testing.T, _ *command, _ *heketitest.Server, keyFile string) {
			t.Helper()
			if err := os.Remove(keyFile); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "down", code: exitLater, want: []string{"error: is heketi up"}, prepare: func(_ *testing.T, _ *command, s *heketitest.Server, _ string) { s.Kill() }},
		{name: "unknown cluster", more: `, clusterIDs: ["` + strings.Repeat("0", 32) + `"]`, code: exitFailed, want: []string{"error: no cluster 0000"}},
		{name: "no devices", config: empty, code: exitFailed, want: []string{"error: no device that takes bricks"}},
		{name: "a node out of use", want: []string{"warning: 10.90.0.12 is offline", "warning: in three copies"}, prepare: func(_ *testing.T, _ *command, s *heketitest.Server, _ string) {
			s.SetNodeState("10.90.0.12", api.EntryStateOffline)
		}},
		{name: "another Gluster", config: elsewhere, code: exitFailed, want: []string{"error: do not belong together"}},
		{name: "a create left half done", want: []string{"warning: create-volume"}, prepare: func(t *testing.T, c *command, s *heketitest.Server, _ string) {
			t.Helper()
			s.OnStep(func(step heketitest.Step) error {
				if step.What == "gluster start" {
					return heketitest.ErrKill
				}
				return nil
			})
			if _, _, code := c.run("volume", "create", "lvm", "--size", "1GiB", "-p", "lvm=true"); code == exitOK {
				t.Fatal("a create over a killed heketi succeeded")
			}
			s.OnStep(nil)
			s.Restart()
		}},
		{name: "only heketi has it", code: exitFailed, want: []string{"error: volume lvm is in heketi"}, prepare: func(t *testing.T, c *command, _ *heketitest.Server, _ string) {
			t.Helper() // the fake agents' Gluster is not the one below the fake heketi
			if _, errs, code := c.run("volume", "create", "lvm", "--size", "1GiB", "-p", "lvm=true"); code != exitExists {
				t.Fatalf("create: exit code %d\n%s", code, errs)
			}
		}},
		{name: "only Gluster has it", code: exitFailed, want: []string{"error: volume lost is in Gluster"}, prepare: func(t *testing.T, c *command, _ *heketitest.Server, _ string) {
			t.Helper()
			c.strayVolume(t, "lost")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newCommand(t)
			if test.config.Clusters == nil {
				test.config = heketitest.Default(3)
			}
			if test.pool == "" {
				test.pool = testPool
			}
			s := heketitest.New(test.config)
			t.Cleanup(s.Close)
			keyFile := c.heketiPool(t, test.pool, s, test.more)
			if test.prepare != nil {
				test.prepare(t, c, s, keyFile)
			}
			c.wantFindings(t, test.code, test.want)
		})
	}
}

// wantFindings checks the pool and compares what was found, as a table and as JSON.
func (c *command) wantFindings(t *testing.T, code int, want []string) {
	t.Helper()
	file := c.env["BRICKLAYER_POOLS"]
	out, errs, got := c.run("pool", "check", file, "-o", "json")
	var views []poolView
	if err := json.Unmarshal([]byte(out), &views); err != nil || len(views) != 1 || views[0].Heketi == nil {
		t.Fatalf("%v: %s\n%s", err, out, errs)
	}
	findings := views[0].Heketi.Findings
	if got != code || len(findings) != len(want) {
		t.Fatalf("exit code %d, want %d; %d findings, want %d: %+v\n%s", got, code, len(findings), len(want), findings, errs)
	}
	table, _, _ := c.run("pool", "check", file)
	for i, f := range findings {
		severity, says, _ := strings.Cut(want[i], ": ")
		if f.Severity != severity || !strings.Contains(f.Detail, says) {
			t.Errorf("found %+v, want %q", f, want[i])
		}
		if !strings.Contains(table, severity+": pool lab: heketi: "+f.Detail) {
			t.Errorf("the table lacks %q:\n%s", f.Detail, table)
		}
	}
	if strings.Contains(out+table+errs, "s3cret") {
		t.Error("the key is shown")
	}
	if _, errs, code := c.run("pool", "check", file, "--offline"); code != exitOK {
		t.Errorf("offline: exit code %d\n%s", code, errs)
	}
}

// strayVolume puts a volume into the agents' Gluster that says that heketi made it.
func (c *command) strayVolume(t *testing.T, name string) {
	t.Helper()
	c.must(t, "volume", "create", name, "--size", "1GiB", "-p", "lvm=false")
	h := volume.Handle{Backend: volume.Heketi, Pool: "lab", Name: name}
	if err := c.cluster.Nodes()[0].SetOptions(t.Context(), name, []gluster.Option{{Key: mark.Handle, Value: h.String()}}); err != nil {
		t.Fatal(err)
	}
}

// addresses hides the fake's port.
var addresses = regexp.MustCompile(`127\.0\.0\.1:\d+`)

func TestPoolCheckOfHeketiFormats(t *testing.T) {
	c := newCommand(t)
	s := heketitest.New(heketitest.Default(3))
	t.Cleanup(s.Close)
	c.heketiPool(t, heketiOnly, s)
	for _, format := range []string{"table", "json"} {
		out := c.must(t, "pool", "check", c.env["BRICKLAYER_POOLS"], "-o", format)
		golden(t, filepath.Join("testdata", "pool-check-heketi."+format), addresses.ReplaceAllString(out, "127.0.0.1:65535"))
	}
}
