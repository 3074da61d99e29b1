package lab

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	heketiPort = 8080
	heketiUser = "admin"
	// heketiPatience is how long a heketi may take to answer after its start.
	heketiPatience = 30 * time.Second
)

func (p paths) heketi(name string) string { return filepath.Join(p.state(), "heketi", name) }

// systemctl stands in for the one that the guests do not have: heketi asks it
// whether glusterd runs, before it does anything on a node.
const systemctl = `#!/bin/sh
# Knows one question: systemctl status glusterd
[ "$1 $2" = "status glusterd" ] || { echo "systemctl: there is no systemd here" >&2; exit 1; }
pgrep -x -r R,S,D glusterd >/dev/null && exit 0
exit 3
`

// HeketiURL is the address of the lab's heketi inside the lab's network.
func (l *Lab) HeketiURL() string {
	return "http://" + l.config.Gateway().String() + ":" + strconv.Itoa(heketiPort)
}

// HeketiKeyFile holds the key of heketi's user admin.
func (l *Lab) HeketiKeyFile() string { return l.paths.heketi("key") }

// EnsureHeketi gives the lab a heketi, if it has none, with the lab's raw disks
// as its topology, and starts it, if it does not run. From then on it belongs to
// the lab: Up and Reset see to it.
func (l *Lab) EnsureHeketi(ctx context.Context) error {
	unlock, err := lockFile(ctx, l.paths.lock(), func() { l.say("another command works on lab %s: waiting for it", l.config.Name) })
	if err != nil {
		return err
	}
	defer unlock()
	if !l.config.Heketi {
		l.config.Heketi = true
		if err := l.config.Validate(); err != nil {
			return err
		}
		if err := errors.Join(l.saveConfig(), l.writePool()); err != nil {
			return err
		}
	}
	return l.ensureHeketi(ctx)
}

// ensureHeketi brings heketi to what the configuration says.
func (l *Lab) ensureHeketi(ctx context.Context) error {
	if !l.config.Heketi {
		return nil
	}
	programs, err := ensureHeketiPrograms(ctx, l.progress)
	if err == nil {
		err = l.prepareHeketi(ctx)
	}
	if err == nil {
		err = l.startHeketi(ctx, programs)
	}
	if err == nil {
		err = l.loadTopology(ctx)
	}
	if err != nil {
		return fmt.Errorf("heketi: %w", err)
	}
	return nil
}

// prepareHeketi makes heketi's keys and configuration, and has the nodes let it in.
func (l *Lab) prepareHeketi(ctx context.Context) error {
	if err := ensureHeketiKeys(l.paths); err != nil {
		return err
	}
	if err := l.configureHeketi(); err != nil {
		return err
	}
	public, err := os.ReadFile(l.paths.heketi("ssh.pub"))
	if err != nil {
		return err
	}
	return each(ctx, l.nodes, func(ctx context.Context, n Node) error {
		if err := l.fillShare(n); err != nil { // for its next boot
			return err
		}
		if err := l.WriteFile(ctx, n.Name, "/usr/local/bin/systemctl", []byte(systemctl), 0o755); err != nil {
			return err
		}
		const admit = `grep -qxF "$1" /run/sshd/authorized_keys || echo "$1" >>/run/sshd/authorized_keys`
		_, err := l.Exec(ctx, n.Name, "sh", "-c", admit, "sh", strings.TrimSpace(string(public)))
		return err
	})
}

// ensureHeketiKeys makes the key of heketi's users and its ssh key once. heketi
// reads only RSA keys in the old PEM form.
func ensureHeketiKeys(p paths) error {
	if !exists(p.heketi("key")) {
		key := make([]byte, 16)
		if _, err := rand.Read(key); err != nil {
			return err
		}
		if err := writeFile(p.heketi("key"), []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
			return err
		}
	}
	if exists(p.heketi("ssh")) && exists(p.heketi("ssh.pub")) {
		return nil
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := ssh.NewPublicKey(&private.PublicKey)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}
	if err := writeFile(p.heketi("ssh"), pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	return writeFile(p.heketi("ssh.pub"), ssh.MarshalAuthorizedKey(public), 0o644)
}

// configureHeketi writes heketi's configuration and its topology.
func (l *Lab) configureHeketi() error {
	key, err := os.ReadFile(l.HeketiKeyFile())
	if err != nil {
		return err
	}
	secret := strings.TrimSpace(string(key))
	config := map[string]any{
		"port": strconv.Itoa(heketiPort), "use_auth": true,
		"jwt": map[string]any{heketiUser: map[string]any{"key": secret}, "user": map[string]any{"key": secret + "-user"}},
		"glusterfs": map[string]any{
			"executor": "ssh", "db": l.paths.heketi("heketi.db"), "loglevel": "debug",
			// A look at the nodes is a login to each, which guests feel; and heketi makes
			// no brick on a node whose glusterd a test had stopped when it last looked.
			// So it looks when it starts, and then no more in the time of a test run.
			"refresh_time_monitor_gluster_nodes": 24 * 60 * 60, // seconds
			"sshexec": map[string]any{
				"keyfile": l.paths.heketi("ssh"), "user": "root", "port": "22", "fstab": "/etc/fstab", "gluster_cli_timeout": 900,
			},
		},
	}
	for name, content := range map[string]any{"heketi.json": config, "topology.json": l.topology()} {
		data, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return err
		}
		if err := writeFile(l.paths.heketi(name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// topology is one cluster of all nodes with their raw disks.
func (l *Lab) topology() map[string]any {
	nodes := []any{}
	for i, n := range l.nodes {
		var devices []string
		for d, disk := range l.config.Disks {
			if disk.Use == UseLVM {
				devices = append(devices, "/dev/"+device(d))
			}
		}
		address := []string{n.Address.String()}
		nodes = append(nodes, map[string]any{
			"node":    map[string]any{"hostnames": map[string]any{"manage": address, "storage": address}, "zone": i%l.config.Zones + 1},
			"devices": devices,
		})
	}
	return map[string]any{"clusters": []any{map[string]any{"nodes": nodes}}}
}

// startHeketi starts heketi where it does not run, and waits until it answers.
func (l *Lab) startHeketi(ctx context.Context, programs string) error {
	rec, err := loadPIDRecord(l.paths.heketi("pid.json"))
	if err != nil {
		return err
	}
	if _, runs := rec.leader(); !runs {
		l.say("heketi: starting at %s", l.HeketiURL())
		if err := l.spawnHeketi(filepath.Join(programs, "heketi")); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, heketiPatience)
	defer cancel()
	var last error
	err = until(ctx, 50*time.Millisecond, func() (bool, error) {
		last = l.heketiAnswers(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("it does not answer at %s: %w; its log (%s) ends:\n%s", l.HeketiURL(), errors.Join(last, err), l.paths.heketi("heketi.log"), fileTail(l.paths.heketi("heketi.log")))
	}
	return nil
}

func (l *Lab) spawnHeketi(program string) error {
	args := []string{program, "--config", l.paths.heketi("heketi.json")}
	return l.startRecorded(l.hostArgv(args...), args, l.netns, l.paths.heketi("pid.json"), l.paths.heketi("heketi.log"), nil)
}

// heketiAnswers asks heketi for a sign of life, from anywhere on the host.
func (l *Lab) heketiAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.HeketiURL()+"/hello", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: l.Dial, DisableKeepAlives: true}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("/hello answers %s", answer.Status)
	}
	return nil
}

// loadTopology tells heketi of the nodes and disks that it does not know yet.
func (l *Lab) loadTopology(ctx context.Context) error {
	known, err := l.Heketi(ctx, "node", "list")
	if err != nil {
		return err
	}
	if strings.Count(string(known), "Id:") == len(l.nodes) {
		return nil
	}
	l.say("heketi: loading the topology, %d nodes", len(l.nodes))
	out, err := l.Heketi(ctx, "topology", "load", "--json="+l.paths.heketi("topology.json"))
	// It reports a disk that it could not take and ends as if all were well.
	if err == nil && strings.Contains(string(out), "Unable to") {
		err = errors.New(tail(string(out), 2000))
	}
	if err != nil {
		return fmt.Errorf("load the topology: %w", err)
	}
	return nil
}

// HeketiCLI is the command line and the environment that run heketi's own client.
// Its key is in the environment, where other users do not see it.
func (l *Lab) HeketiCLI(ctx context.Context, args ...string) (argv, env []string, err error) {
	if !l.config.Heketi {
		return nil, nil, fmt.Errorf("lab %s has no heketi: lab up --name %s --heketi", l.config.Name, l.config.Name)
	}
	programs, err := ensureHeketiPrograms(ctx, l.progress)
	if err != nil {
		return nil, nil, err
	}
	key, err := os.ReadFile(l.HeketiKeyFile())
	if err != nil {
		return nil, nil, err
	}
	argv, err = l.HostArgv(append([]string{filepath.Join(programs, "heketi-cli")}, args...)...)
	env = []string{
		"HEKETI_CLI_SERVER=" + l.HeketiURL(), "HEKETI_CLI_USER=" + heketiUser,
		"HEKETI_CLI_KEY=" + strings.TrimSpace(string(key)), "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
	}
	return argv, env, err
}

// Heketi runs heketi's own client and answers its standard output.
func (l *Lab) Heketi(ctx context.Context, args ...string) ([]byte, error) {
	argv, env, err := l.HeketiCLI(ctx, args...)
	if err != nil {
		return nil, err
	}
	out, err := run(ctx, append(append([]string{"env", "-i"}, env...), argv...)...)
	if e, ok := errors.AsType[*ExitError](err); ok {
		e.Argv = append([]string{"heketi-cli"}, args...) // without the key
	}
	return out, err
}

// HeketiPrograms is the directory that holds heketi and heketi-cli, for tests
// that run one of their own; they are built where they are missing.
func (l *Lab) HeketiPrograms(ctx context.Context) (string, error) {
	return ensureHeketiPrograms(ctx, l.progress)
}

// KillHeketi ends heketi with kill -9; it stays dead until StartHeketi or Up.
func (l *Lab) KillHeketi(ctx context.Context) error {
	rec, err := loadPIDRecord(l.paths.heketi("pid.json"))
	if err != nil {
		return err
	}
	return until(ctx, 10*time.Millisecond, func() (bool, error) {
		p, runs := rec.leader()
		if !runs {
			return true, nil
		}
		if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return false, fmt.Errorf("kill heketi (%d): %w", p.pid, err)
		}
		return false, nil
	})
}

// StartHeketi starts heketi where it does not run, and waits until it answers.
func (l *Lab) StartHeketi(ctx context.Context) error {
	programs, err := ensureHeketiPrograms(ctx, l.progress)
	if err != nil {
		return err
	}
	return l.startHeketi(ctx, programs)
}

// emptyHeketi ends heketi and takes its database away. What it left on the nodes
// goes with their reset, once it is unmounted.
func (l *Lab) emptyHeketi(ctx context.Context) error {
	if !l.config.Heketi {
		return nil
	}
	if err := l.KillHeketi(ctx); err != nil {
		return err
	}
	for _, name := range []string{"heketi.db", "heketi.log"} {
		if err := os.Remove(l.paths.heketi(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
