package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"
)

// Lab is a handle on a lab, up or not. It is safe for concurrent use.
type Lab struct {
	paths    paths
	config   Config
	nodes    []Node
	record   record
	netns    uint64
	progress *progress

	mu    sync.Mutex
	links map[string]sshLink
}

// record is what a lab remembers beside its configuration.
type record struct {
	Image string `json:"image"` // the file that the nodes' disks are copies of
	// Modified is the image's time stamp: a copy-on-write disk on an image that
	// was built anew reads garbage, and User-Mode Linux refuses it.
	Modified int64 `json:"modified"`
	// Binary is the bricklayer program that the agents run, as the guests see it.
	Binary string `json:"binary,omitempty"`
}

func newLab(c Config, pr *progress) *Lab {
	return &Lab{
		paths: paths{c.Name}, config: c, nodes: c.NodeList(),
		progress: pr, links: map[string]sshLink{},
	}
}

// Open finds a lab that was brought up before; whether it runs is what Status says.
func Open(name string) (*Lab, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	c, err := storedConfig(name)
	if err != nil {
		return nil, err
	}
	l := newLab(c, newProgress(nil))
	if err := l.loadRecord(); err != nil {
		return nil, err
	}
	l.netns = netnsInode(l.paths.netns())
	return l, nil
}

// ConfigOf is what a lab is made of, or the default for one that was never up.
func ConfigOf(name string) (Config, error) {
	c, err := storedConfig(name)
	if !errors.Is(err, ErrNotUp) {
		return c, err
	}
	if c, err = DefaultConfig(); err == nil {
		c.Name = name
	}
	return c, err
}

func storedConfig(name string) (Config, error) {
	data, err := os.ReadFile(paths{name}.config())
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("lab %s: %w: bring it up with `lab up --name %s`", name, ErrNotUp, name)
	}
	if err != nil {
		return Config{}, fmt.Errorf("lab %s: %w", name, err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("lab %s: stored configuration: %w", name, err)
	}
	c.Name = name
	return c, nil
}

// SetProgress makes later calls tell w what they do.
func (l *Lab) SetProgress(w io.Writer) { l.progress = newProgress(w) }

func (l *Lab) say(format string, args ...any) { l.progress.say(format, args...) }

// Name is the lab's name.
func (l *Lab) Name() string { return l.config.Name }

// Config is what the lab is made of.
func (l *Lab) Config() Config { return l.config }

// Nodes are the storage nodes, in order.
func (l *Lab) Nodes() []Node { return append([]Node(nil), l.nodes...) }

// Node finds a storage node by name.
func (l *Lab) Node(name string) (Node, error) {
	for _, n := range l.nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return Node{}, fmt.Errorf("%w: %q; lab %s has %s to %s", ErrNoNode, name, l.config.Name,
		l.nodes[0].Name, l.nodes[len(l.nodes)-1].Name)
}

// StateDir holds everything of the lab on the host.
func (l *Lab) StateDir() string { return l.paths.state() }

// ShareDir is the directory of the host that a node sees, read-only, as /lab.
func (l *Lab) ShareDir(node string) string { return l.paths.share(node) }

// PoolFile describes the lab's storage nodes as a StoragePool.
func (l *Lab) PoolFile() string { return l.paths.pool() }

// CertsDir holds the certificates of the pool.
func (l *Lab) CertsDir() string { return l.paths.certs() }

// MountDir is a place for mounts of the lab's volumes; whatever is mounted below
// it is unmounted by Reset and Down.
func (l *Lab) MountDir() string { return l.paths.mnt() }

// hostArgv is a command line that runs argv inside the lab's network. Only the
// network is the lab's: what is mounted there is mounted on the host.
func (l *Lab) hostArgv(argv ...string) []string {
	return append([]string{"nsenter", "--net=" + l.paths.netns(), "--"}, argv...)
}

// HostArgv is the command line that runs argv inside the lab's network, for callers
// that start it themselves.
func (l *Lab) HostArgv(argv ...string) ([]string, error) {
	if netnsInode(l.paths.netns()) == 0 {
		return nil, fmt.Errorf("lab %s: %w: it has no network namespace", l.config.Name, ErrNotUp)
	}
	return l.hostArgv(argv...), nil
}

// Host runs a command of the host inside the lab's network and answers its
// standard output. A command that fails is an *[ExitError].
func (l *Lab) Host(ctx context.Context, argv ...string) ([]byte, error) {
	full, err := l.HostArgv(argv...)
	if err != nil {
		return nil, err
	}
	out, err := run(ctx, full...)
	if e, ok := errors.AsType[*ExitError](err); ok {
		e.Argv, e.Stdout = argv, out
	}
	return out, err
}

// Pause stops a node as a hung machine does: its connections stay open and answer
// nothing.
func (l *Lab) Pause(node string) error { return l.signalRunning(node, syscall.SIGSTOP) }

// Resume lets a paused node go on.
func (l *Lab) Resume(node string) error { return l.signalRunning(node, syscall.SIGCONT) }

// signalRunning signals the guest's first process only, which is its kernel. The
// others are its address spaces, which it traces: to stop those by hand would end it.
func (l *Lab) signalRunning(node string, sig syscall.Signal) error {
	n, err := l.Node(node)
	if err != nil {
		return err
	}
	rec, err := loadPIDRecord(l.paths.pid(n.Name))
	if err != nil {
		return err
	}
	p, ok := rec.leader()
	if !ok {
		return fmt.Errorf("node %s of lab %s: %w", node, l.config.Name, ErrNotUp)
	}
	if err := syscall.Kill(p.pid, sig); err != nil {
		return fmt.Errorf("node %s: signal %v to process %d: %w", node, sig, p.pid, err)
	}
	return nil
}

// PowerOff cuts a node's power.
func (l *Lab) PowerOff(ctx context.Context, node string) error {
	n, err := l.Node(node)
	if err != nil {
		return err
	}
	return l.kill(ctx, n)
}

// Start boots a node that is off and waits until it is ready. Unlike Up it repairs
// nothing else.
func (l *Lab) Start(ctx context.Context, node string) error {
	n, err := l.Node(node)
	if err != nil {
		return err
	}
	return l.startNode(ctx, n)
}

func (l *Lab) startNode(ctx context.Context, n Node) error {
	if err := l.ensureNode(ctx, n); err != nil {
		return err
	}
	return l.ensureAgent(ctx, n)
}

// Restart shuts a node down in good order, boots it and waits until it is ready.
func (l *Lab) Restart(ctx context.Context, node string) error {
	n, err := l.Node(node)
	if err != nil {
		return err
	}
	if state, _, err := l.power(n); err != nil {
		return err
	} else if state == powerPaused {
		if err := l.Resume(node); err != nil {
			return err
		}
	}
	if err := l.shutDown(ctx, n); err != nil {
		return err
	}
	return l.startNode(ctx, n)
}

// guest runs one verb of guest.sh on a node.
func (l *Lab) guest(ctx context.Context, node string, verb ...string) ([]byte, error) {
	return l.Exec(ctx, node, append([]string{"/bin/bash", "/lab/guest.sh"}, verb...)...)
}

// KillGlusterd ends glusterd on a node with kill -9; it stays dead until
// StartGlusterd, Up or a boot.
func (l *Lab) KillGlusterd(ctx context.Context, node string) error {
	_, err := l.guest(ctx, node, "kill-glusterd")
	return err
}

// StartGlusterd starts glusterd on a node and waits until it sees all its peers:
// until then it may answer from a state that they have left behind.
func (l *Lab) StartGlusterd(ctx context.Context, node string) error {
	if _, err := l.guest(ctx, node, "start-glusterd"); err != nil {
		return err
	}
	_, err := l.guest(ctx, node, "peers", strconv.Itoa(len(l.nodes)), glusterdPatience)
	return err
}

// KillAgent ends the agent on a node with kill -9; it stays dead until StartAgent,
// Up or a boot.
func (l *Lab) KillAgent(ctx context.Context, node string) error {
	_, err := l.guest(ctx, node, "kill-agent")
	return err
}

// StartAgent starts the agent on a node and waits until it listens.
func (l *Lab) StartAgent(ctx context.Context, node string) error {
	_, err := l.guest(ctx, node, "start-agent")
	return err
}

// WriteFile replaces a file on a node's own file system, whole or not at all.
func (l *Lab) WriteFile(ctx context.Context, node, path string, data []byte, mode fs.FileMode) error {
	script := `umask 077; mkdir -p "$(dirname "$1")" && cat >"$1.new" && chmod "$2" "$1.new" && mv "$1.new" "$1"`
	var errOut bytes.Buffer
	err := l.Stream(ctx, node, Stdio{In: bytes.NewReader(data), Err: &errOut},
		"sh", "-c", script, "sh", path, fmt.Sprintf("%o", mode.Perm()))
	if e, ok := errors.AsType[*ExitError](err); ok {
		e.Stderr = errOut.Bytes()
	}
	return err
}

// each does something on some nodes at once; the first failure ends the rest.
func each(ctx context.Context, nodes []Node, do func(context.Context, Node) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		g.Go(func() error { return do(ctx, n) })
	}
	return g.Wait()
}

func (l *Lab) loadRecord() error {
	data, err := os.ReadFile(l.paths.record())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &l.record); err != nil {
		return fmt.Errorf("%s is damaged (%w): take the lab down and up again", l.paths.record(), err)
	}
	return nil
}

func (l *Lab) saveRecord() error {
	data, err := json.Marshal(l.record)
	if err != nil {
		return err
	}
	return writeFile(l.paths.record(), data, 0o644)
}

func (l *Lab) saveConfig() error {
	c := l.config
	c.Name = "" // the directory says it
	data, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	return writeFile(l.paths.config(), data, 0o644)
}
