package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/volume"
)

const goodConfig = `pool: lab
node: n1
listen: 10.90.0.11:24010
tls: {ca: /lab/certs/ca.crt, cert: /lab/certs/tls.crt, key: /lab/certs/tls.key}
roots:
- {name: root1, path: /bricks/root1}
`

func TestConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(goodConfig+"repairInterval: 1h30m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := agent.LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.OvercommitPercent != 100 || c.GlusterCommand != "gluster" || time.Duration(c.RepairInterval) != 90*time.Minute {
		t.Errorf("got %+v", c)
	}
	if _, err := agent.LoadConfig(path + ".no"); !volume.Is(err, volume.Precondition) || !strings.Contains(err.Error(), path) {
		t.Errorf("no file: %v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown field", "pool: lab", "pool: lab\ncolour: red", "colour"},
		{"field twice", "pool: lab", "pool: lab\npool: lab", "pool"},
		{"pool with a slash", "pool: lab", "pool: ../lab", "pool"},
		{"no node", "node: n1", "node: ''", "node"},
		{"node with capitals", "node: n1", "node: N1", "node"},
		{"listen without a port", ":24010", "", "listen"},
		{"listen on port 0", ":24010", ":0", "listen"},
		{"relative CA", "/lab/certs/ca.crt", "ca.crt", "tls.ca"},
		{"no key", "key: /lab/certs/tls.key", "key: ''", "tls.key"},
		{"no roots", "- {name: root1, path: /bricks/root1}", "", "roots"},
		{"root that is /", "/bricks/root1", "/", "roots[0].path"},
		{"root that climbs", "/bricks/root1", "/bricks/../etc", "roots[0].path"},
		{"root name with a slash", "name: root1", "name: a/b", "roots[0].name"},
		{"root twice", "- {name: root1, path: /bricks/root1}", "- {name: a, path: /b/a}\n- {name: a, path: /b/c}", "roots[1]"},
		{"root within a root", "- {name: root1, path: /bricks/root1}", "- {name: a, path: /b}\n- {name: c, path: /b/c}", "roots[1].path"},
		{"negative overcommit", "pool: lab", "pool: lab\novercommitPercent: -1", "overcommitPercent"},
		{"interval without a unit", "pool: lab", "pool: lab\nrepairInterval: '10'", "10"},
		{"interval that is a number", "pool: lab", "pool: lab\nrepairInterval: 10", "repairInterval"},
		{"interval of nothing", "pool: lab", "pool: lab\nrepairInterval: 1ns", "repairInterval"},
		{"relative gluster", "pool: lab", "pool: lab\nglusterCommand: ./gluster", "glusterCommand"},
		{"a list", goodConfig, "[1, 2]", ""},
		{"no YAML", goodConfig, "\x00", ""},
		{"nothing", goodConfig, "", "pool"},
		{"too much", goodConfig, strings.Repeat("#", 2<<20), "1 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(goodConfig, c.old, c.new, 1)
			if text == goodConfig {
				t.Fatal("the case changes nothing")
			}
			_, err := agent.ParseConfig([]byte(text))
			if !volume.Is(err, volume.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v (%v), want Invalid with %q", err, volume.KindOf(err), c.want)
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(goodConfig))
	f.Add([]byte("roots: [{name: a, path: /b}, {name: a, path: /b/c}]"))
	f.Add([]byte("repairInterval: 10"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := agent.ParseConfig(data)
		if err == nil && c.Validate() != nil {
			t.Error("it was accepted, but is not valid")
		}
	})
}
