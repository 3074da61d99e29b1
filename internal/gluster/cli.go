package gluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"bricklayer.csi/internal/trace"
	"bricklayer.csi/internal/volume"
)

// Defaults and bounds of Options.
const (
	defaultCommand = "gluster"
	defaultSocket  = "/var/run/glusterd.socket"
	defaultTimeout = 2 * time.Minute // gluster's own
	minTimeout     = time.Second
	maxTimeout     = time.Hour
	// grace is how long after its own timeout gluster is left to say so.
	grace = 5 * time.Second
)

// Options say how a CLI runs the gluster command.
type Options struct {
	// Command is the program, looked up in the PATH; "gluster" where empty.
	Command string
	// Socket is glusterd's; /var/run/glusterd.socket where empty.
	Socket string
	// Timeout bounds every command, connecting included; two minutes where 0. A
	// command that is cut short goes on in glusterd.
	Timeout time.Duration
	// Runner runs the command elsewhere than on this host; may be nil.
	Runner Runner
}

// CLI is the Cluster that the gluster command on a storage node shows. It is
// safe for concurrent use; glusterd serialises, and refuses with Locked a
// second change to a volume that is being changed.
type CLI struct {
	runner  Runner
	timeout time.Duration
}

var _ Cluster = (*CLI)(nil)

// NewCLI returns a CLI. It does not run anything yet: gluster may be installed later.
func NewCLI(o Options) (*CLI, error) {
	c := &CLI{runner: o.Runner, timeout: o.Timeout}
	if c.timeout == 0 {
		c.timeout = defaultTimeout
	}
	if c.timeout < minTimeout || c.timeout > maxTimeout {
		return nil, volume.NewFieldError("timeout", o.Timeout.String(), "1s to 1h")
	}
	if c.runner == nil {
		command := cmp.Or(o.Command, defaultCommand)
		if strings.HasPrefix(command, "-") || strings.ContainsAny(command, "\x00\n") {
			return nil, volume.NewFieldError("command", o.Command, "the name or the path of a program")
		}
		c.runner = &execRunner{command: command, socket: cmp.Or(o.Socket, defaultSocket)}
	}
	return c, nil
}

// Close ends processes that are kept for the next command. The CLI can be used
// again after it.
func (c *CLI) Close() {
	if r, ok := c.runner.(*execRunner); ok {
		r.sessions.close()
	}
}

// run runs gluster once. name is how errors call what was asked.
func (c *CLI) run(ctx context.Context, name string, call Call) (out Output, err error) {
	ctx, end := trace.Span(ctx, "gluster", attribute.String("gluster.command", name))
	defer func() { end(err) }()
	limited, cancel := context.WithTimeoutCause(ctx, c.timeout+grace,
		fmt.Errorf("gluster did not end within %v", c.timeout+grace))
	defer cancel()
	out, err = c.runner.Run(limited, call)
	switch {
	case err == nil:
		return out, nil
	case limited.Err() != nil:
		cause := context.Cause(limited)
		return out, &Error{
			Reason: Timeout, Command: name, Err: cause,
			Text: fmt.Sprintf("no answer: %v; what it began may still be under way in glusterd", cause),
		}
	}
	if refusal, ok := errors.AsType[*Error](err); ok {
		refusal.Command = name
		return out, refusal
	}
	if volume.KindOf(err) != volume.Internal {
		return out, err
	}
	return out, &volume.Error{Kind: volume.Internal, Op: "run gluster " + name, Err: err}
}

// flags are given with every command.
func (c *CLI) flags() []string {
	return []string{"--mode=script", "--xml", "--timeout=" + strconv.Itoa(int(c.timeout/time.Second))}
}

// ask runs one command and returns its answer.
func (c *CLI) ask(ctx context.Context, name string, words ...string) ([]byte, error) {
	answers, err := c.askEach(ctx, name, words)
	if err != nil {
		return nil, err
	}
	return answers[0], nil
}

// askEach runs several commands and returns their answers.
func (c *CLI) askEach(ctx context.Context, name string, commands ...[]string) ([][]byte, error) {
	out, err := c.run(ctx, name, Call{Flags: c.flags(), Commands: commands})
	if err != nil {
		return nil, err
	}
	return take(name, out, len(commands))
}

// take takes the answers out of what a run printed. A run that printed anything
// else failed, whatever its answers say. The exit code says no more than they
// do, and heal commands have one for every errno.
func take(name string, out Output, want int) ([][]byte, error) {
	answers, stray, err := split(out.Stdout, want)
	if err == nil && stray == "" {
		return answers, nil
	}
	if stray == "" {
		stray = strings.TrimSpace(string(out.Stderr))
	}
	switch {
	case stray != "":
		return nil, refused(name, 0, stray)
	case len(bytes.TrimSpace(out.Stdout)) == 0:
		return nil, &Error{Reason: DaemonDown, Command: name, Text: fmt.Sprintf(
			"it ended without an answer (exit code %d): glusterd went away meanwhile, the outcome is unknown", out.ExitCode)}
	}
	return nil, unreadable(name, err)
}

// change runs a command that changes something.
func (c *CLI) change(ctx context.Context, name string, words ...string) error {
	data, err := c.ask(ctx, name, words...)
	if err != nil {
		return err
	}
	return decode(name, data, new(plainAnswer))
}

// CreateVolume implements Cluster.
func (c *CLI) CreateVolume(ctx context.Context, r CreateRequest) error {
	if err := r.check(); err != nil {
		return err
	}
	words := []string{"volume", "create", r.Name}
	if r.Replica > 0 {
		words = append(words, "replica", strconv.Itoa(r.Replica))
	}
	if r.Arbiter > 0 {
		words = append(words, "arbiter", strconv.Itoa(r.Arbiter))
	}
	if r.Disperse > 0 {
		words = append(words, "disperse", strconv.Itoa(r.Disperse), "redundancy", strconv.Itoa(r.Redundancy))
	}
	for _, b := range r.Bricks {
		words = append(words, b.String())
	}
	return c.change(ctx, "volume create "+r.Name, words...)
}

// StartVolume implements Cluster. A node whose glusterd was away while the volume
// was started elsewhere takes it for stopped, serves no brick of it, and has its
// state refused to all; started with force the volume runs on each of them.
func (c *CLI) StartVolume(ctx context.Context, name string) error {
	return c.insist(ctx, "start", name, AlreadyStarted)
}

// StopVolume implements Cluster. A node whose glusterd came back while the
// volume was being started elsewhere may still take it for stopped; it then
// refuses for all of them, and no later stop or delete succeeds. Stopping with
// force asks nobody (glusterd-volume-ops.c), so that after it all agree.
func (c *CLI) StopVolume(ctx context.Context, name string) error {
	return c.insist(ctx, "stop", name, NotStarted)
}

// insist gives a command that one node's word can refuse as already done, and
// then has it done with force on those where it is not. The refusal stays the answer.
func (c *CLI) insist(ctx context.Context, verb, name string, done Reason) error {
	err := c.verb(ctx, verb, name)
	if e, refused := errors.AsType[*Error](err); !refused || e.Reason != done {
		return err
	}
	if forced := c.verb(ctx, verb, name, "force"); forced != nil {
		return forced
	}
	return err
}

// DeleteVolume implements Cluster.
func (c *CLI) DeleteVolume(ctx context.Context, name string) error {
	return c.verb(ctx, "delete", name)
}

func (c *CLI) verb(ctx context.Context, verb, name string, more ...string) error {
	if err := checkName(name); err != nil {
		return err
	}
	words := append([]string{"volume", verb, name}, more...)
	return c.change(ctx, strings.Join(words, " "), words...)
}

// SetOptions implements Cluster.
func (c *CLI) SetOptions(ctx context.Context, name string, options []Option) error {
	if name != AllVolumes {
		if err := checkName(name); err != nil {
			return err
		}
	}
	if err := checkOptions(options); err != nil {
		return err
	}
	words := []string{"volume", "set", name}
	var called strings.Builder
	called.WriteString("volume set " + name)
	for _, o := range options {
		words = append(words, o.Key, o.Value)
		called.WriteString(" " + o.Key)
	}
	return c.change(ctx, called.String(), words...)
}

// Volume implements Cluster.
func (c *CLI) Volume(ctx context.Context, name string) (Volume, error) {
	if err := checkName(name); err != nil {
		return Volume{}, err
	}
	called := "volume info " + name
	data, err := c.ask(ctx, called, "volume", "info", name)
	if err != nil {
		return Volume{}, err
	}
	return parseVolume(called, name, data)
}

// Volumes implements Cluster. gluster walks through the volumes by asking
// glusterd for the one that follows the last one; if that was deleted meanwhile
// the walk ends early and looks complete, and so it does if the connection
// breaks. So the names are asked for too, in one go, and what the walk missed
// is asked for by name.
func (c *CLI) Volumes(ctx context.Context) ([]Volume, error) {
	const called = "volume info"
	answers, err := c.askEach(ctx, called, []string{"volume", "info"}, []string{"volume", "list"})
	if err != nil {
		return nil, err
	}
	volumes, err := parseVolumes(called, answers[0])
	if err != nil {
		return nil, err
	}
	names, err := parseNames("volume list", answers[1])
	if err != nil {
		return nil, err
	}
	missed, err := c.named(ctx, missing(names, volumes))
	return append(volumes, missed...), err
}

// missing returns the names that none of the volumes has.
func missing(names []string, volumes []Volume) []string {
	have := make(map[string]bool, len(volumes))
	for i := range volumes {
		have[volumes[i].Name] = true
	}
	var rest []string
	for _, name := range names {
		if !have[name] {
			rest = append(rest, name)
		}
	}
	return rest
}

// named returns the volumes of those names; one that is gone is left out.
func (c *CLI) named(ctx context.Context, names []string) ([]Volume, error) {
	if len(names) == 0 {
		return nil, nil
	}
	commands := make([][]string, len(names))
	for i, name := range names {
		if err := checkName(name); err != nil {
			return nil, unreadable("volume list", err)
		}
		commands[i] = []string{"volume", "info", name}
	}
	answers, err := c.askEach(ctx, "volume info", commands...)
	if err != nil {
		return nil, err
	}
	volumes := make([]Volume, 0, len(names))
	for i, name := range names {
		v, err := parseVolume("volume info "+name, name, answers[i])
		if refusal, ok := errors.AsType[*Error](err); ok && refusal.Reason == NotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		volumes = append(volumes, v)
	}
	return volumes, nil
}

// parseVolume reads the answer of `volume info NAME`.
func parseVolume(command, name string, data []byte) (Volume, error) {
	volumes, err := parseVolumes(command, data)
	if err != nil {
		return Volume{}, err
	}
	if len(volumes) != 1 || volumes[0].Name != name {
		return Volume{}, unreadable(command, fmt.Errorf("it describes %d volumes, not just %q", len(volumes), name))
	}
	return volumes[0], nil
}

// VolumeStatus implements Cluster. glusterd leaves out the bricks of peers that
// are down, so the list of bricks is asked for in the same run.
func (c *CLI) VolumeStatus(ctx context.Context, name string) ([]BrickStatus, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	status, info := "volume status "+name+" detail", "volume info "+name
	answers, err := c.askEach(ctx, status,
		[]string{"volume", "status", name, "detail"}, []string{"volume", "info", name})
	if err != nil {
		return nil, err
	}
	found, err := parseStatus(status, name, answers[0])
	if err != nil {
		return nil, err
	}
	v, err := parseVolume(info, name, answers[1])
	if err != nil {
		return nil, err
	}
	return complete(found, v.Bricks), nil
}

// HealInfo implements Cluster.
func (c *CLI) HealInfo(ctx context.Context, name string) ([]BrickHeal, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	called := "volume heal " + name + " info summary"
	out, err := c.run(ctx, called, Call{
		Flags: c.flags(), Commands: [][]string{{"volume", "heal", name, "info", "summary"}}, Alone: true,
	})
	if err != nil {
		return nil, err
	}
	answers, err := take(called, out, 1)
	if err != nil {
		return nil, err
	}
	heals, err := parseHeal(called, answers[0])
	refusal, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return heals, err
	case strings.Contains(refusal.Text, keepsNoCopies):
		return nil, nil
	case refusal.Reason == NotStarted:
		// It says the same of a volume that runs without a single brick.
		if v, err := c.Volume(ctx, name); err == nil && v.Status == StatusStarted {
			refusal.Reason = BricksDown
		}
	}
	return nil, refusal
}

// Peers implements Cluster.
func (c *CLI) Peers(ctx context.Context) ([]Peer, error) {
	const called = "pool list"
	data, err := c.ask(ctx, called, "pool", "list")
	if err != nil {
		return nil, err
	}
	return parsePeers(called, data)
}

// ProbePeer implements Cluster. Of a host that is a peer, and of this one, glusterd
// says that there is nothing to do, and calls that a success.
func (c *CLI) ProbePeer(ctx context.Context, host string) error {
	if err := checkHost("host", host); err != nil {
		return err
	}
	return c.change(ctx, "peer probe "+host, "peer", "probe", host)
}

// Version returns the version of the gluster command, such as "10.3". It asks
// no daemon.
func (c *CLI) Version(ctx context.Context) (string, error) {
	const called = "--version"
	out, err := c.run(ctx, called, Call{Flags: []string{called}})
	if err != nil {
		return "", err
	}
	return ParseVersion(called, out.Stdout)
}

// ParseVersion reads "glusterfs 10.3" and what may follow on other lines.
func ParseVersion(command string, data []byte) (string, error) {
	line, _, _ := strings.Cut(string(data), "\n")
	version, ok := strings.CutPrefix(strings.TrimSpace(line), "glusterfs ")
	if !ok || version == "" || len(version) > 64 || version[0] < '0' || version[0] > '9' ||
		strings.ContainsFunc(version, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", unreadable(command, volume.NewFieldError("version", line, "glusterfs VERSION"))
	}
	return version, nil
}
