package mount

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// Glusterfs starts a client for the volume and waits until its mount answers.
//
// It runs glusterfs itself, not mount.glusterfs: that script splits every
// argument at spaces, drops host names longer than 63 bytes without a word,
// edits /etc/updatedb.conf, and says of a failure only that there is a log. And
// it runs the client in the foreground (--no-daemon), so that a client that
// does not come up can be ended: a daemon would go on and mount later, unasked.
func (l *Linux) Glusterfs(ctx context.Context, src Source, target string, flags Flags) error {
	ctx, cancel := context.WithTimeout(ctx, l.opts.MountWithin)
	defer cancel()
	if err := l.requireFree(ctx, src, target); err != nil {
		return err
	}
	servers, err := l.reachable(ctx, src.Servers)
	if err != nil {
		return &volume.Error{
			Kind: volume.Unavailable, Op: "mount", On: "volume " + src.Volume, Err: err,
			Next: "see whether glusterd runs on these hosts and whether this node can reach its port",
		}
	}
	log, err := openLog(l.opts.LogDir, src.Volume)
	if err != nil {
		return &volume.Error{Kind: volume.Precondition, Op: "mount", On: "volume " + src.Volume, Err: err}
	}
	l.probe.forget(target)
	client, err := l.start(ctx, clientArgs(servers, l.opts.Port, src.Volume, log.path, target, flags), target)
	if err != nil {
		return &volume.Error{
			Kind: volume.Precondition, Op: "mount", On: "volume " + src.Volume, Err: err,
			Next: "install the package glusterfs-client",
		}
	}
	defer client.output.Close()
	if err := l.await(ctx, client, src.Volume, target); err != nil {
		client.end()
		l.clear(ctx, target)
		return explain(src, target, err, append(client.said(), log.tail()...), log.path)
	}
	return nil
}

// requireFree refuses a target that shows a Gluster volume: another one on top
// would hide it, and could not be told from it if it failed.
func (l *Linux) requireFree(ctx context.Context, src Source, target string) error {
	table, err := l.Mounts(ctx)
	if err != nil {
		return err
	}
	if m, mounted := At(table, target); mounted && m.Type == fuseType {
		return AlreadyMounted(src, m)
	}
	return nil
}

func clientArgs(servers []string, port int, name, log, target string, flags Flags) []string {
	args := []string{"--no-daemon", "--process-name=fuse", "--volfile-id=/" + name, "--log-file=" + log}
	for _, s := range servers {
		args = append(args, "--volfile-server="+s)
	}
	if port != DefaultPort {
		args = append(args, "--volfile-server-port="+strconv.Itoa(port))
	}
	if !hasFlag(flags.client, "--log-level=") {
		args = append(args, "--log-level=WARNING") // INFO writes the whole volume file at each mount
	}
	if flags.ReadOnly {
		args = append(args, "--read-only")
	}
	args = append(args, flags.client...)
	if len(flags.kernel) > 0 {
		args = append(args, "--fuse-mountopts="+strings.Join(flags.kernel, ","))
	}
	return append(args, target) // last: see clientRuns
}

func hasFlag(args []string, prefix string) bool {
	for _, a := range args {
		if strings.HasPrefix(a, prefix) {
			return true
		}
	}
	return false
}

const (
	// reachableWithin is how long a host may take to accept a connection.
	reachableWithin = 3 * time.Second
	// othersWithin is how long the others may take once one has.
	othersWithin = 100 * time.Millisecond
)

// reachable puts the hosts whose glusterd answers first: the client asks them
// one after another, and a host that is switched off costs it minutes.
func (l *Linux) reachable(ctx context.Context, servers []string) ([]string, error) {
	type answer struct {
		host int
		err  error
	}
	ctx, cancel := context.WithTimeout(ctx, reachableWithin)
	defer cancel()
	answers := make(chan answer, len(servers))
	for i, host := range servers {
		go func() { answers <- answer{i, dial(ctx, net.JoinHostPort(host, strconv.Itoa(l.opts.Port)))} }()
	}
	up := make([]bool, len(servers))
	var faults []error
	var enough <-chan time.Time
wait:
	for range servers {
		select {
		case a := <-answers:
			if a.err != nil {
				faults = append(faults, a.err)
				continue
			}
			up[a.host] = true
			if enough == nil {
				enough = time.After(othersWithin)
			}
		case <-enough:
			break wait
		}
		if up[0] {
			break // the usual case: the order stays
		}
	}
	if !slices.Contains(up, true) {
		return nil, fmt.Errorf("no server of the volume file answers: %w", errors.Join(faults...))
	}
	ordered := make([]string, 0, len(servers))
	for _, want := range []bool{true, false} {
		for i, host := range servers {
			if up[i] == want {
				ordered = append(ordered, host)
			}
		}
	}
	return ordered, nil
}

func dial(ctx context.Context, address string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// client is a running glusterfs process.
type client struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
	err    error         // why, once done
	output *os.File      // what it wrote before its log was open
}

// start runs the client apart from us: its own session, no shared descriptors,
// and no tie to ctx, because it is to outlive the call and even this process.
func (l *Linux) start(ctx context.Context, args []string, target string) (*client, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cmd := exec.CommandContext(life, l.opts.Client, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	output, err := memory("glusterfs-output")
	if err != nil {
		cancel()
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, errors.Join(err, output.Close())
	}
	c := &client{cancel: cancel, done: make(chan struct{}), output: output}
	go func() {
		c.err = cmd.Wait()
		l.ended(life, target, cmd.Process.Pid, cmd.ProcessState.String())
		cancel()
		close(c.done)
	}()
	return c, nil
}

// memory returns a file that is nowhere: a container may have no directory to write to.
func memory(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// said returns what the client wrote before its log was open, once it has ended.
func (c *client) said() []string {
	text := make([]byte, 1024)
	n, _ := c.output.ReadAt(text, 0)
	return strings.FieldsFunc(shown(string(text[:n])), func(r rune) bool { return r == '\n' })
}

// end kills the client and waits until it is gone.
func (c *client) end() {
	c.cancel()
	<-c.done
}

// lookEvery is how often await looks at the mount table: a mount takes 0.1 to
// 0.3 s, and reading the table some tens of microseconds.
const lookEvery = 10 * time.Millisecond

// await returns once target shows the volume and answers, or with the reason
// why it will not. The mount is in the table before its bricks are connected,
// so that only an answer proves anything.
func (l *Linux) await(ctx context.Context, c *client, name, target string) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		table, err := l.Mounts(ctx)
		if err != nil {
			return err
		}
		if m, mounted := At(table, target); mounted && m.Volume() == name {
			l.ends.forget(m.Device)
			return l.firstAnswer(ctx, c, target)
		}
		select {
		case <-tick.C:
		case <-c.done:
			return fmt.Errorf("%w: %w", errClientEnded, c.err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errClientEnded = errors.New("the client ended")

func (l *Linux) firstAnswer(ctx context.Context, c *client, target string) error {
	answer := make(chan error, 1)
	go func() {
		_, err := l.probe.statfs(ctx, target)
		answer <- err
	}()
	select {
	case err := <-answer:
		return err
	case <-c.done:
		return fmt.Errorf("%w: %w", errClientEnded, c.err)
	}
}

// clear detaches what a failed mount left in the table.
func (l *Linux) clear(ctx context.Context, target string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanWithin)
	defer cancel()
	table, err := l.Mounts(ctx)
	if m, mounted := At(table, target); err == nil && mounted && m.Type == fuseType {
		err = l.Unmount(ctx, target)
	}
	if err != nil {
		l.opts.Log.WarnContext(ctx, "a failed mount is still in the mount table; the next one at this path replaces it", "target", target, "error", err)
	}
}
