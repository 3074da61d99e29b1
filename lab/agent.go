package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	poolName  = "lab"
	agentPort = 24010
	module    = "bricklayer.csi"
)

// AgentMetricsPort is where the agent of each storage node serves its metrics.
const AgentMetricsPort = 9808

// agentPath is the program of the agents as the guests see it; empty where none
// was ever built.
func (l *Lab) agentPath() string { return l.record.Binary }

// ensureBinary builds the bricklayer program from the module that the caller
// stands in. Where there is no source or no Go, an earlier build goes on serving.
func (l *Lab) ensureBinary(ctx context.Context) error {
	root, err := moduleRoot()
	if err != nil || !exists(filepath.Join(root, "cmd/bricklayer")) {
		return l.ensureTrust(ctx)
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		l.say("no go on the path: %s", l.keeps())
		return l.ensureTrust(ctx)
	}
	if err := os.MkdirAll(l.paths.bin(), 0o755); err != nil {
		return err
	}
	fresh := filepath.Join(l.paths.bin(), "fresh")
	const building = "building the agent"
	l.say(building)
	argv := []string{"env", "CGO_ENABLED=0", goTool, "-C", root, "build", "-trimpath", "-o", fresh, "./cmd/bricklayer"}
	if err := runShown(ctx, l.progress, building, argv); err != nil {
		return fmt.Errorf("build the agent: %w", err)
	}
	sum, err := fileSum(fresh)
	if err != nil {
		return err
	}
	// Named by its content: a guest keeps the pages of a file that it runs, and
	// would go on reading the old one under the old name.
	dir := filepath.Join(l.paths.bin(), sum)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Rename(fresh, filepath.Join(dir, "bricklayer")); err != nil {
		return err
	}
	guest := "/lab/bin/" + sum + "/bricklayer"
	if l.record.Binary != guest {
		l.record.Binary = guest
		l.say("agent: build %s", sum)
	}
	return l.ensureTrust(ctx)
}

func (l *Lab) keeps() string {
	if l.agentPath() == "" {
		return "the nodes run without one"
	}
	return "the nodes keep the one that they have"
}

// moduleRoot is the nearest directory above the working one that holds this
// module: `go test` runs in the directory of the package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module "+module+"\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside the module " + module)
		}
		dir = filepath.Dir(dir)
	}
}

func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// ensureTrust writes the pool file and makes the pool's certificates, as far as
// they are missing or about to end.
func (l *Lab) ensureTrust(ctx context.Context) error {
	if err := l.writePool(); err != nil {
		return err
	}
	if l.agentPath() == "" {
		return nil
	}
	if _, err := run(ctx, l.program(), "certs", "--pool", l.paths.pool(), "--dir", l.paths.certs()); err != nil {
		return fmt.Errorf("make the certificates of the pool: %w", err)
	}
	return nil
}

func (l *Lab) writePool() error {
	data, err := yaml.Marshal(l.poolResource())
	if err != nil {
		return err
	}
	return writeFile(l.paths.pool(), data, 0o644)
}

// program is the bricklayer program as the host sees it.
func (l *Lab) program() string {
	return filepath.Join(l.paths.bin(), strings.TrimPrefix(l.record.Binary, "/lab/bin/"))
}

// Program is the bricklayer program that the agents run, as a file of the host;
// empty where there is none.
func (l *Lab) Program() string {
	if l.record.Binary == "" {
		return ""
	}
	return l.program()
}

// poolResource describes the storage nodes in the shape of the StoragePool
// resource. It is written as plain maps: the lab must not depend on what it tests.
func (l *Lab) poolResource() map[string]any {
	nodes := []any{}
	for _, n := range l.nodes {
		nodes = append(nodes, map[string]any{
			"name": n.Name, "address": n.Address.String(), "zone": n.Zone,
			"agent": fmt.Sprintf("%s:%d", n.Address, agentPort),
			"roots": l.roots(),
		})
	}
	spec := map[string]any{"nodes": nodes, "clientNetworks": []string{l.config.Network}}
	if l.config.Heketi {
		spec["heketi"] = map[string]any{"url": l.HeketiURL(), "user": heketiUser, "keyFile": l.HeketiKeyFile()}
	}
	return map[string]any{
		"apiVersion": "bricklayer.csi/v1alpha1",
		"kind":       "StoragePool",
		"metadata":   map[string]any{"name": poolName},
		"spec":       spec,
	}
}

func (l *Lab) roots() []any {
	roots := []any{}
	for _, d := range l.config.Disks {
		if d.Use == UseBrickRoot {
			roots = append(roots, map[string]any{"name": d.Name, "path": "/bricks/" + d.Name})
		}
	}
	return roots
}

func (l *Lab) agentConfig(n Node) map[string]any {
	return map[string]any{
		"pool": poolName, "node": n.Name,
		"listen": fmt.Sprintf("%s:%d", n.Address, agentPort),
		"tls":    map[string]any{"ca": "/lab/certs/ca.crt", "cert": "/lab/certs/tls.crt", "key": "/lab/certs/tls.key"},
		"roots":  l.roots(),
	}
}

// ensureAgent makes a node run the program that the lab has now.
func (l *Lab) ensureAgent(ctx context.Context, n Node) error {
	if l.agentPath() == "" {
		return nil
	}
	// Roots that could not be marked are told; the agent runs without them.
	told, err := l.guest(ctx, n.Name, "start-agent")
	for line := range strings.Lines(string(told)) {
		l.say("%s: %s", n.Name, strings.TrimSpace(line))
	}
	return err
}
