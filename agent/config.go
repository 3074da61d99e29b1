package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/volume"
)

// Config is an agent's configuration file.
type Config struct {
	// Pool and Node are the names that its certificate carries.
	Pool string `json:"pool"`
	Node string `json:"node"`
	// Listen is the host:port at which controllers reach it.
	Listen string   `json:"listen"`
	TLS    TLSFiles `json:"tls"`
	// Roots are the brick roots.
	Roots []RootConfig `json:"roots"`
	// OvercommitPercent is how much of a root's size may be promised; 100 where absent.
	OvercommitPercent int `json:"overcommitPercent,omitempty"`
	// TrashEntriesPerSecond bounds how fast removed bricks are emptied; absent leaves it to package brick.
	TrashEntriesPerSecond int `json:"trashEntriesPerSecond,omitempty"`
	// GlusterCommand is the gluster program; "gluster" where absent.
	GlusterCommand string `json:"glusterCommand,omitempty"`
	// GlusterdSocket is glusterd's own socket; /var/run/glusterd.socket where absent.
	GlusterdSocket string `json:"glusterdSocket,omitempty"`
	// RepairInterval is how often lost quotas are put right, such as "10m".
	RepairInterval Duration `json:"repairInterval,omitempty"`
}

// RootConfig is one brick root in the configuration.
type RootConfig struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// Defaults of a configuration, and the bounds of its interval.
const (
	defaultCommand  = "gluster"
	defaultSocket   = "/var/run/glusterd.socket"
	defaultRepair   = 10 * time.Minute
	minRepair       = time.Second
	maxRepair       = 24 * time.Hour
	maxConfigLength = 1 << 20
)

// Duration is a time.Duration that reads and writes itself as "10m".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return volume.NewFieldError("duration", string(text), `a number with a unit, such as "10m" or "1h30m"`)
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// LoadConfig reads and checks a configuration file.
func LoadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, &volume.Error{Kind: volume.Precondition, Op: "read the agent's configuration", On: path, Err: err}
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, &volume.Error{Kind: volume.Invalid, Op: "read the agent's configuration", On: path, Err: err}
	}
	return c, nil
}

// ParseConfig reads a configuration strictly (an unknown or repeated field is
// refused), fills in what was left out, and checks it.
func ParseConfig(data []byte) (Config, error) {
	if len(data) > maxConfigLength {
		return Config{}, volume.NewFieldError("file", strconv.Itoa(len(data))+" bytes", "at most 1 MiB")
	}
	var c Config
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Config{}, &volume.Error{Kind: volume.Invalid, Err: err}
	}
	c.setDefaults()
	return c, c.Validate()
}

func (c *Config) setDefaults() {
	if c.OvercommitPercent == 0 {
		c.OvercommitPercent = brick.DefaultOvercommitPercent
	}
	if c.GlusterCommand == "" {
		c.GlusterCommand = defaultCommand
	}
	if c.GlusterdSocket == "" {
		c.GlusterdSocket = defaultSocket
	}
	if c.RepairInterval == 0 {
		c.RepairInterval = Duration(defaultRepair)
	}
}

// Validate says everything that is wrong with the configuration, naming the fields.
func (c Config) Validate() error {
	var faults []error
	add := func(err error) { faults = append(faults, err) }
	add(volume.CheckPoolName(c.Pool))
	if !isLabel(c.Node) {
		add(volume.NewFieldError("node", c.Node, "a DNS label: 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"))
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || !isPort(port) {
		add(volume.NewFieldError("listen", c.Listen, "host:port, such as 10.0.0.1:24010 or :24010"))
	}
	add(c.TLS.Validate())
	if len(c.Roots) == 0 {
		add(volume.NewFieldError("roots", "", "at least one brick root"))
	}
	add(c.brickOptions().Validate())
	if c.GlusterCommand != defaultCommand && !filepath.IsAbs(c.GlusterCommand) {
		add(volume.NewFieldError("glusterCommand", c.GlusterCommand, "gluster, or an absolute path"))
	}
	if !filepath.IsAbs(c.GlusterdSocket) {
		add(volume.NewFieldError("glusterdSocket", c.GlusterdSocket, "an absolute path"))
	}
	if d := time.Duration(c.RepairInterval); d < minRepair || d > maxRepair {
		add(volume.NewFieldError("repairInterval", d.String(), fmt.Sprintf("%v to %v", minRepair, maxRepair)))
	}
	if err := c.nested(); err != nil {
		add(err)
	}
	return errors.Join(faults...)
}

// nested refuses a root below another one: the bricks of the inner one would
// lie within the outer one's file system tree.
func (c Config) nested() error {
	for i, inner := range c.Roots {
		for _, outer := range c.Roots {
			if inner.Path != outer.Path && strings.HasPrefix(inner.Path, strings.TrimSuffix(outer.Path, "/")+"/") {
				return volume.NewFieldError(fmt.Sprintf("roots[%d].path", i), inner.Path, "a path that is not below root "+outer.Name)
			}
		}
	}
	return nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// brickOptions are what package brick needs of the configuration.
func (c Config) brickOptions() brick.Options {
	o := brick.Options{Pool: c.Pool, Policy: brick.Policy{OvercommitPercent: c.OvercommitPercent, TrashEntriesPerSecond: c.TrashEntriesPerSecond}}
	for _, r := range c.Roots {
		o.Roots = append(o.Roots, brick.RootConfig{Name: r.Name, Path: r.Path})
	}
	return o
}
