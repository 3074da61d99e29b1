//go:build lab

package gluster

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/volume"
	"bricklayer.csi/lab"
)

var (
	inGuest = flag.Bool("in-guest", false, "run in the storage node itself, on gluster's own command")
	guests  = flag.String("hosts", "", "with -in-guest: the nodes' addresses, by commas")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *inGuest {
		os.Exit(m.Run())
	}
	os.Exit(lab.Main(m))
}

const brickDir = "/bricks/root1/gluster-tests"

// afar runs gluster on a node of the lab, a process a command, for the tests
// that do harm to nodes.
type afar struct{ node string }

// Run implements Runner.
func (a afar) Run(ctx context.Context, call Call) (Output, error) {
	var all Output
	commands := call.Commands
	if len(commands) == 0 {
		commands = [][]string{nil}
	}
	for _, words := range commands {
		argv := append([]string{"env", "LC_ALL=C", "gluster"}, call.Flags...)
		if len(words) > 0 {
			argv = append(append(argv, "--"), words...)
		}
		out, err := lab.Current().Exec(ctx, a.node, argv...)
		if e, ok := errors.AsType[*lab.ExitError](err); ok && e.Code > 0 {
			all.ExitCode, all.Stderr, err = e.Code, append(all.Stderr, e.Stderr...), nil
		}
		all.Stdout = append(all.Stdout, out...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// onLab returns a suite that runs gluster on n1, and cleans up after it.
func onLab(t *testing.T, timeout time.Duration) *suite {
	t.Helper()
	if *inGuest {
		t.Skip("this test drives the lab from the host")
	}
	c, err := NewCLI(Options{Runner: afar{node: "n1"}, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{c: c, dir: brickDir}
	everywhere(t, "rm -rf "+brickDir+"; mkdir -p "+brickDir)
	t.Cleanup(func() { everywhere(t, "rm -rf "+brickDir) })
	for _, n := range lab.Current().Nodes() {
		s.hosts = append(s.hosts, n.Address.String())
	}
	return s
}

func everywhere(t *testing.T, script string) {
	t.Helper()
	for _, n := range lab.Current().Nodes() {
		on(t, n.Name, script)
	}
}

func on(t *testing.T, node, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := lab.Current().Exec(ctx, node, "sh", "-c", script); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestInGuest is what TestOnANode runs there.
func TestInGuest(t *testing.T) {
	if !*inGuest {
		t.Skip("runs in a storage node: see TestOnANode")
	}
	c, err := NewCLI(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	(&suite{c: c, dir: brickDir, hosts: strings.Split(*guests, ",")}).run(t)
}

// TestOnANode runs the suite as an agent would: on the node itself, where
// commands share sessions.
func TestOnANode(t *testing.T) {
	s := onLab(t, 0)
	t.Log("\n" + s.inGuest(t, "-test.run=^TestInGuest$"))
}

// inGuest runs this test program on n1 and returns what it printed.
func (s *suite) inGuest(t *testing.T, args ...string) string {
	t.Helper()
	binary := filepath.Join(lab.Current().ShareDir("n1"), "gluster.test")
	build := exec.CommandContext(t.Context(), "env", "CGO_ENABLED=0", "go", "test", "-c", "-tags", "lab", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() { _ = os.Remove(binary) })
	argv := append([]string{"/lab/gluster.test", "-in-guest", "-hosts=" + strings.Join(s.hosts, ","), "-test.v"}, args...)
	out, err := lab.Current().Exec(t.Context(), "n1", argv...)
	if err != nil {
		t.Errorf("in the guest: %v", err)
	}
	return string(out)
}

func TestPeerDown(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes nodes down and up again; make test-lab-long runs it")
	}
	s, l := onLab(t, 0), lab.Current()
	ctx := t.Context()
	s.create(t, s.replica("gl-down"))
	if err := s.c.StartVolume(ctx, "gl-down"); err != nil {
		t.Fatal(err)
	}
	s.online(t, "gl-down", 3)
	if err := l.KillGlusterd(ctx, "n3"); err != nil {
		t.Fatal(err)
	}
	back := func() {
		if err := l.StartGlusterd(context.Background(), "n3"); err != nil {
			t.Error(err)
		}
		s.connected(t, 3)
	}
	t.Cleanup(back)
	s.connected(t, 2)
	want(t, "create with a brick there", s.c.CreateVolume(ctx, s.replica("gl-down2")), PeerDown)
	if status := s.online(t, "gl-down", 2); len(status) != 3 || status[2].Online || status[2].Brick.Host != s.hosts[2] {
		t.Errorf("%+v, want the third brick not online", status)
	}
	if err := s.c.SetOptions(ctx, "gl-down", []Option{{"user.a", "b"}}); err != nil {
		t.Errorf("set with a peer down: %v", err)
	}
	if err := s.c.StopVolume(ctx, "gl-down"); err != nil {
		t.Errorf("stop with a peer down: %v", err)
	}
	want(t, "delete with a peer down", s.c.DeleteVolume(ctx, "gl-down"), PeerDown)
}

// connected waits until as many peers are connected.
func (s *suite) connected(t *testing.T, n int) {
	t.Helper()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); ; {
		peers, err := s.c.Peers(context.Background())
		up := 0
		for _, p := range peers {
			if p.Connected {
				up++
			}
		}
		if err == nil && up == n {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%d peers are connected, want %d: %+v, error %v", up, n, peers, err)
		}
	}
}

func TestGlusterdDownAndHanging(t *testing.T) {
	s, l := onLab(t, 3*time.Second), lab.Current()
	ctx := t.Context()
	if err := l.KillGlusterd(ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.StartGlusterd(context.Background(), "n1"); err != nil {
			t.Error(err)
		}
	})
	_, err := s.c.Volumes(ctx)
	want(t, "info, glusterd dead", err, DaemonDown)
	want(t, "set, glusterd dead", s.c.SetOptions(ctx, "gl-x", []Option{{"user.a", "b"}}), DaemonDown)
	_, err = s.c.HealInfo(ctx, "gl-x")
	want(t, "heal info, glusterd dead", err, DaemonDown)
	if err := l.StartGlusterd(ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	s.connected(t, 3)

	on(t, "n1", "kill -STOP $(pidof glusterd)")
	t.Cleanup(func() { on(t, "n1", "kill -CONT $(pidof glusterd)") })
	for what, ask := range map[string]func() error{
		"info":    func() error { _, err := s.c.Volumes(ctx); return err },
		"one":     func() error { _, err := s.c.Volume(ctx, "gl-x"); return err },
		"peers":   func() error { _, err := s.c.Peers(ctx); return err },
		"options": func() error { return s.c.SetOptions(ctx, "gl-x", []Option{{"user.a", "b"}}) },
	} {
		if err := ask(); volume.KindOf(err) != volume.Unavailable || err == nil {
			t.Errorf("%s, glusterd hanging: %v, want Unavailable", what, err)
		}
	}
}

func TestBricksDown(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes nodes down and up again; make test-lab-long runs it")
	}
	s := onLab(t, 0)
	ctx := t.Context()
	s.create(t, s.replica("gl-dead"))
	if err := s.c.StartVolume(ctx, "gl-dead"); err != nil {
		t.Fatal(err)
	}
	s.online(t, "gl-dead", 3)
	// The brackets keep the pattern from matching the shell that has it.
	const kill = "pkill -9 -f 'gluster-tests-gl-[d]ead'"
	on(t, "n3", kill)
	s.online(t, "gl-dead", 2)
	heal, err := s.c.HealInfo(ctx, "gl-dead")
	if err != nil || len(heal) != 3 || heal[2].Connected || !heal[0].Connected {
		t.Errorf("%+v, error %v; want the third not connected", heal, err)
	}
	on(t, "n1", kill)
	on(t, "n2", kill)
	s.online(t, "gl-dead", 0)
	_, err = s.c.HealInfo(ctx, "gl-dead")
	want(t, "heal info without a brick", err, BricksDown)
	if v, err := s.c.Volume(ctx, "gl-dead"); err != nil || v.Status != StatusStarted {
		t.Errorf("%+v, error %v", v, err)
	}
}
