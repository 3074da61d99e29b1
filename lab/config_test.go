package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestDefaultConfig(t *testing.T) {
	c, err := DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	want := []Node{
		{Name: "n1", Address: netip.MustParseAddr("10.90.0.11"), Zone: "z1"},
		{Name: "n2", Address: netip.MustParseAddr("10.90.0.12"), Zone: "z2"},
		{Name: "n3", Address: netip.MustParseAddr("10.90.0.13"), Zone: "z3"},
	}
	if d := cmp.Diff(want, c.NodeList(), cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("nodes (-want +got):\n%s", d)
	}
	if got := c.disksFor(UseLVM); got != "ubdb:data1" {
		t.Errorf("LVM disks %q", got)
	}
	if got := c.disksFor(UseBrickRoot); got != "ubdc:root1" {
		t.Errorf("brick disks %q", got)
	}
	if got := c.Gateway().String(); got != "10.90.0.1" {
		t.Errorf("gateway %s", got)
	}
}

func TestConfigOverDefaults(t *testing.T) {
	c, err := ParseConfig([]byte("nodes: 5\nzones: 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Disks) != 2 || c.MemoryMiB != 3000 {
		t.Errorf("what is not given should be the default: %+v", c)
	}
	if got := c.NodeList()[4]; got.Name != "n5" || got.Zone != "z1" {
		t.Errorf("fifth node of two zones: %+v", got)
	}
	c, err = ParseConfig([]byte("disks:\n- {name: only, sizeGiB: 1, use: brickRoot}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Disks) != 1 || c.Disks[0].Name != "only" {
		t.Errorf("disks given should replace the default: %+v", c.Disks)
	}
}

func TestConfigRefused(t *testing.T) {
	for _, tt := range []struct{ name, yaml, want string }{
		{"unknown field", "nodez: 3", `unknown field "nodez"`},
		{"no nodes", "nodes: 0", "nodes: 0: want 1 to 9"},
		{"too many nodes", "nodes: 10", "nodes: 10"},
		{"little memory", "memoryMiB: 100", "memoryMiB: 100"},
		{"zones", "zones: 0", "zones: 0"},
		{"loopback", "network: 127.0.0.0/24", "network:"},
		{"not masked", "network: 10.90.0.5/24", "network:"},
		{"IPv6", "network: fd00::/24", "network:"},
		{"wide network", "network: 10.0.0.0/8", "network:"},
		{"name", "name: ../x", `lab name "../x"`},
		{"upper case", "name: Lab", "lab name"},
		{"disk name", "disks: [{name: 'a b', sizeGiB: 1, use: lvm}]", "disks[0].name"},
		{"disk twice", "disks: [{name: a, sizeGiB: 1, use: lvm}, {name: a, sizeGiB: 1, use: lvm}]", "given twice"},
		{"disk size", "disks: [{name: a, sizeGiB: 0, use: lvm}]", "disks[0].sizeGiB: 0"},
		{"disk use", "disks: [{name: a, sizeGiB: 1, use: zfs}]", `disks[0].use: "zfs"`},
		{"mirror", "mirror: 'file:///x --foo'", "mirror:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseConfig([]byte(tt.yaml))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseConfig(%q): %v, want an error with %q", tt.yaml, err, tt.want)
			}
		})
	}
}

func TestTooManyDisks(t *testing.T) {
	c, err := DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	c.Disks = nil
	for i := range maxDisks + 1 {
		c.Disks = append(c.Disks, Disk{Name: "d" + string(rune('a'+i)), SizeGiB: 1, Use: UseLVM})
	}
	if err := c.Validate(); err == nil {
		t.Error("one disk more than the driver has devices was accepted")
	}
	c.Disks = c.Disks[:maxDisks]
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if got := device(maxDisks - 1); got != "ubdp" {
		t.Errorf("last device is %s, want ubdp", got)
	}
}

func TestLoadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.yaml")
	if _, err := LoadConfig(path); err == nil {
		t.Error("a file that is not there was accepted")
	}
	if err := os.WriteFile(path, []byte("nodes: -1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadConfig(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v should name the file", err)
	}
}

func TestGrowsFrom(t *testing.T) {
	old, err := DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"same", func(*Config) {}, ""},
		{"a node more", func(c *Config) { c.Nodes++ }, ""},
		{"a disk more", func(c *Config) { c.Disks = append(c.Disks, Disk{"x", 1, UseLVM}) }, ""},
		{"more memory", func(c *Config) { c.MemoryMiB *= 2 }, ""},
		{"a node less", func(c *Config) { c.Nodes-- }, "nodes"},
		{"a disk less", func(c *Config) { c.Disks = c.Disks[:1] }, "disks"},
		{"another size", func(c *Config) { c.Disks[1].SizeGiB++ }, "disks[1]"},
		{"another network", func(c *Config) { c.Network = "10.91.0.0/24" }, "network"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := old
			c.Disks = append([]Disk(nil), old.Disks...)
			tt.change(&c)
			err := c.growsFrom(old)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
