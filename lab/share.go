package lab

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed guest/guest.sh
var guestScript []byte

// fillShare writes what a guest sees as /lab. A running guest sees a change at
// its next open.
func (l *Lab) fillShare(n Node) error {
	share := l.paths.share(n.Name)
	authorized, err := os.ReadFile(l.paths.clientKey() + ".pub")
	if err != nil {
		return err
	}
	if heketi, err := os.ReadFile(l.paths.heketi("ssh.pub")); err == nil {
		authorized = append(authorized, heketi...)
	}
	hostKey, err := os.ReadFile(l.paths.hostKey())
	if err != nil {
		return err
	}
	agent, err := yaml.Marshal(l.agentConfig(n))
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
		mode os.FileMode
	}{
		{"guest.sh", guestScript, 0o755},
		{"node.env", []byte(l.nodeEnv(n)), 0o644},
		{"hosts", []byte(l.hostsFile(n)), 0o644},
		{"authorized_keys", authorized, 0o600},
		{"ssh_host_key", hostKey, 0o600},
		{"agent.yaml", agent, 0o644},
	} {
		if err := writeFile(filepath.Join(share, f.name), f.data, f.mode); err != nil {
			return err
		}
	}
	return errors.Join(l.shareBinary(share), l.shareCerts(n, share))
}

// nodeEnv is read by the guest's shell. All its values were checked by Validate or
// made here; none holds a character that a shell minds.
func (l *Lab) nodeEnv(n Node) string {
	var b strings.Builder
	for _, kv := range [][2]string{
		{"NODE", n.Name},
		{"ADDRESS", n.Address.String()},
		{"LVM_DISKS", l.config.disksFor(UseLVM)},
		{"BRICK_DISKS", l.config.disksFor(UseBrickRoot)},
		{"AGENT", l.agentPath()},
		{"AGENT_PORT", strconv.Itoa(agentPort)},
		{"METRICS_PORT", strconv.Itoa(AgentMetricsPort)},
		{"GATEWAY", l.config.Gateway().String()},
		{"POD_NETWORK", kubePodNet.String()},
		{"NETWORK", l.config.Network},
		{"RTO_MIN", rtoMin},
	} {
		fmt.Fprintf(&b, "%s='%s'\n", kv[0], kv[1])
	}
	return b.String()
}

// hostsFile leaves a node's neighbours out: glusterd would know those by name that
// it meets by name, and all pools here are of addresses.
func (l *Lab) hostsFile(n Node) string {
	return fmt.Sprintf("127.0.0.1 localhost\n%s host\n%s %s\n", l.config.Gateway(), n.Address, n.Name)
}

// shareBinary links the agent's program into the guest's directory, which is all
// that the guest can see, and takes away builds that no lab command will name again.
func (l *Lab) shareBinary(share string) error {
	if l.record.Binary == "" {
		return nil
	}
	name := strings.TrimPrefix(l.record.Binary, "/lab/bin/") // SUM/bricklayer
	target := filepath.Join(share, "bin", name)
	if exists(target) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.Link(l.program(), target)
}

// shareCerts gives a node the pool's CA and its own certificate, never its
// neighbours' keys.
func (l *Lab) shareCerts(n Node, share string) error {
	from := filepath.Join(l.paths.certs(), n.Name)
	if !exists(from) {
		return nil // made once the program can make them
	}
	for _, name := range []string{"ca.crt", "tls.crt", "tls.key"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(share, "certs", name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
