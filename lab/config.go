package lab

import (
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// DefaultName is the lab that commands act on where none is named.
const DefaultName = "default"

// What a disk is for.
const (
	UseLVM       = "lvm"       // left raw, for LVM
	UseBrickRoot = "brickRoot" // XFS with project quotas, mounted at /bricks/NAME
)

const (
	firstHost = 11 // last octet of n1
	maxNodes  = 9
	maxDisks  = 15 // the ubd driver has 16 devices and the first is the system's
	minMemory = 512
	maxMemory = 64 << 10
	maxSize   = 16 << 10
)

//go:embed default.yaml
var defaultYAML []byte

// Config says what a lab is made of.
type Config struct {
	Name      string `json:"name,omitempty"`
	Nodes     int    `json:"nodes"`
	MemoryMiB int    `json:"memoryMiB"`
	Network   string `json:"network"`
	Zones     int    `json:"zones"`
	Disks     []Disk `json:"disks"`
	// SyncDisks has every write of a guest wait for this machine's disk, so that
	// SetDisks can hold it back.
	SyncDisks bool `json:"syncDisks,omitempty"`
	// Heketi gives the lab a heketi that makes volumes on the disks for LVM.
	Heketi bool `json:"heketi,omitempty"`
	// Kubernetes gives the lab a cluster of its own, with so many workers.
	Kubernetes bool `json:"kubernetes,omitempty"`
	Workers    int  `json:"workers,omitempty"`
	// Mirror is where the packages of the image come from; empty means the
	// mirrors that mmdebstrap knows.
	Mirror string `json:"mirror,omitempty"`
}

// Disk is one disk that every node gets, a sparse file on the host.
type Disk struct {
	Name    string `json:"name"`
	SizeGiB int    `json:"sizeGiB"`
	Use     string `json:"use"`
}

// Node is one storage node as the configuration makes it.
type Node struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	Zone    string     `json:"zone"`
}

// DefaultConfig is the embedded configuration under the default name.
func DefaultConfig() (Config, error) {
	c, err := ParseConfig(defaultYAML)
	if err != nil {
		return Config{}, fmt.Errorf("embedded lab configuration: %w", err)
	}
	return c, nil
}

// LoadConfig reads a configuration file; what it leaves out is as in the
// embedded one.
func LoadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read lab configuration: %w", err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("lab configuration %s: %w", path, err)
	}
	return c, nil
}

// ParseConfig reads YAML over the embedded defaults and checks the result.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(defaultYAML, &c); err != nil {
		return Config{}, err
	}
	defaults := c.Disks
	c.Disks = nil // a list given replaces the default, it does not merge into it
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Config{}, err
	}
	if c.Disks == nil {
		c.Disks = defaults
	}
	if c.Name == "" {
		c.Name = DefaultName
	}
	return c, c.Validate()
}

var (
	nameRE   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$`)
	diskRE   = regexp.MustCompile(`^[a-z][a-z0-9]{0,14}$`)
	mirrorRE = regexp.MustCompile(`^https?://[A-Za-z0-9._~:/%-]+$`)
)

// CheckName says whether a lab may be called that: the name is part of paths and
// of a network namespace.
func CheckName(name string) error {
	if !nameRE.MatchString(name) {
		return fmt.Errorf("lab name %q: want 1 to 20 of a-z, 0-9 and -, not at the ends", name)
	}
	return nil
}

// Validate names the first field that does not hold.
func (c Config) Validate() error {
	if err := CheckName(c.Name); err != nil {
		return err
	}
	for _, f := range []struct {
		field         string
		v, least, top int
	}{
		{"nodes", c.Nodes, 1, maxNodes},
		{"memoryMiB", c.MemoryMiB, minMemory, maxMemory},
		{"zones", c.Zones, 1, maxNodes},
		{"workers", c.Workers, 1, maxWorkers},
	} {
		if f.v < f.least || f.v > f.top {
			return fmt.Errorf("%s: %d: want %d to %d", f.field, f.v, f.least, f.top)
		}
	}
	p, err := netip.ParsePrefix(c.Network)
	if err != nil || !p.Addr().Is4() || p.Bits() != 24 || p.Masked() != p || p.Addr().IsLoopback() {
		return fmt.Errorf("network: %q: want an IPv4 network of 24 bits such as 10.90.0.0/24 (glusterd refuses loopback)", c.Network)
	}
	if c.Mirror != "" && !mirrorRE.MatchString(c.Mirror) {
		return fmt.Errorf("mirror: %q: want an http or https address of a Debian archive", c.Mirror)
	}
	if c.Heketi && c.disksFor(UseLVM) == "" {
		return fmt.Errorf("heketi: true, and no disk has use: %s", UseLVM)
	}
	if err := c.validateKubernetes(p); err != nil {
		return err
	}
	return c.validateDisks()
}

func (c Config) validateDisks() error {
	if len(c.Disks) > maxDisks {
		return fmt.Errorf("disks: %d given: a node takes at most %d", len(c.Disks), maxDisks)
	}
	seen := map[string]bool{}
	for i, d := range c.Disks {
		switch {
		case !diskRE.MatchString(d.Name):
			return fmt.Errorf("disks[%d].name: %q: want a letter, then up to 14 of a-z and 0-9", i, d.Name)
		case seen[d.Name]:
			return fmt.Errorf("disks[%d].name: %q: given twice", i, d.Name)
		case d.SizeGiB < 1 || d.SizeGiB > maxSize:
			return fmt.Errorf("disks[%d].sizeGiB: %d: want 1 to %d", i, d.SizeGiB, maxSize)
		case d.Use != UseLVM && d.Use != UseBrickRoot:
			return fmt.Errorf("disks[%d].use: %q: want %q or %q", i, d.Use, UseLVM, UseBrickRoot)
		}
		seen[d.Name] = true
	}
	return nil
}

// NodeList derives the nodes: n1, n2, ... with their addresses and zones.
// It expects a configuration that Validate accepts.
func (c Config) NodeList() []Node {
	nodes := make([]Node, 0, c.Nodes)
	for i := range c.Nodes {
		nodes = append(nodes, Node{
			Name:    fmt.Sprintf("n%d", i+1),
			Address: c.host(firstHost + i),
			Zone:    fmt.Sprintf("z%d", i%c.Zones+1),
		})
	}
	return nodes
}

// Gateway is the host's own address on the lab's bridge, where tests and mounts
// come from.
func (c Config) Gateway() netip.Addr { return c.host(1) }

func (c Config) host(octet int) netip.Addr {
	a := netip.MustParsePrefix(c.Network).Addr().As4()
	a[3] = byte(octet)
	return netip.AddrFrom4(a)
}

// device is the guest's name of the i-th disk of the configuration.
func device(i int) string { return "ubd" + string(rune('b'+i)) }

// disksFor returns the guest devices of one use as "device:name" words.
func (c Config) disksFor(use string) string {
	var words []string
	for i, d := range c.Disks {
		if d.Use == use {
			words = append(words, device(i)+":"+d.Name)
		}
	}
	return strings.Join(words, " ")
}

// growsFrom says why a lab built as old cannot become c while it stands. Nodes
// and disks can be added; anything else changes what is already there.
func (c Config) growsFrom(old Config) error {
	refuse := func(field string, was, want any) error {
		return fmt.Errorf("lab %s has %s %v and %v is asked for: take it down first (lab down --name %s)",
			c.Name, field, was, want, c.Name)
	}
	switch {
	case old.Network != c.Network:
		return refuse("network", old.Network, c.Network)
	case c.Nodes < old.Nodes:
		return refuse("nodes", old.Nodes, c.Nodes)
	case old.SyncDisks != c.SyncDisks:
		return refuse("syncDisks", old.SyncDisks, c.SyncDisks)
	case old.Heketi && !c.Heketi:
		return refuse("heketi", true, false)
	case old.Kubernetes && !c.Kubernetes:
		return refuse("kubernetes", true, false)
	case old.Kubernetes && c.Workers < old.Workers:
		return refuse("workers", old.Workers, c.Workers)
	case len(c.Disks) < len(old.Disks):
		return refuse("disks", len(old.Disks), len(c.Disks))
	}
	for i, d := range old.Disks {
		if c.Disks[i] != d {
			return refuse(fmt.Sprintf("disks[%d]", i), d, c.Disks[i])
		}
	}
	return nil
}
