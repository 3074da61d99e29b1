package agent_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// hostStub is the brick roots of a host that notes what it is asked.
type hostStub struct {
	agent.BrickHost
	mu     sync.Mutex
	states []brick.RootState
	wanted [][]brick.Expectation
}

func (h *hostStub) Told() brick.Policy { return brick.Policy{OvercommitPercent: 150} }

func (h *hostStub) States(context.Context) []brick.RootState { return h.states }

func (h *hostStub) Bricks(context.Context, string) ([]brick.Brick, error) {
	return []brick.Brick{{}}, &volume.Error{Kind: volume.Precondition, Op: "open", On: "brick root root1", Err: errors.New("not mounted")}
}

func (h *hostStub) Repair(_ context.Context, want []brick.Expectation) ([]brick.Repaired, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wanted = append(h.wanted, want)
	return nil, nil
}

func (h *hostStub) asked() [][]brick.Expectation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wanted
}

// clusterStub has the volumes that a test gives it.
type clusterStub struct {
	gluster.Cluster
	volumes []gluster.Volume
	block   chan struct{}
}

func (c *clusterStub) Volumes(ctx context.Context) ([]gluster.Volume, error) {
	if c.block != nil {
		select {
		case <-c.block:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return c.volumes, nil
}

func (c *clusterStub) Version(context.Context) (string, error) { return "10.3", nil }

func newLocal(t *testing.T, h agent.BrickHost, c gluster.Cluster, socket string) *agent.Local {
	t.Helper()
	cfg, err := agent.ParseConfig([]byte(goodConfig + "glusterdSocket: " + socket + "\nrepairInterval: 1s\n"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := agent.NewLocal(agent.LocalOptions{Config: cfg, Version: "v", Bricks: h, Cluster: c})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// glusterdStub listens where glusterd would and gives every connection to answer.
func glusterdStub(t *testing.T, answer func(net.Conn)) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "glusterd.socket")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	return socket
}

// words answers with a record of 32-bit words, as glusterd does.
func words(w ...uint32) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := io.ReadFull(conn, make([]byte, 52)); err != nil {
			return
		}
		out := binary.BigEndian.AppendUint32(nil, uint32(1<<31|4*len(w)))
		for _, x := range w {
			out = binary.BigEndian.AppendUint32(out, x)
		}
		_, _ = conn.Write(out)
	}
}

var glusterdAnswer = words(0x0ddba11, 1, 0, 0, 0, 0, 0, 0, 0)

func TestDescribeLocal(t *testing.T) {
	h := &hostStub{states: []brick.RootState{{Name: "root1", Problem: "is the disk mounted?"}}}
	for _, c := range []struct {
		name   string
		answer func(net.Conn)
		ready  bool
	}{
		{"ready", glusterdAnswer, true},
		{"denied", words(0x0ddba11, 1, 1, 0, 0, 0), false},
		{"another call's answer", words(1, 1, 0, 0, 0, 0), false},
		{"too short", words(0x0ddba11), false},
		{"hangs up", func(net.Conn) {}, false},
		{"says nothing", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, false},
		{"huge", func(c net.Conn) { _, _ = c.Write([]byte{0xff, 0xff, 0xff, 0xff}) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLocal(t, h, &clusterStub{}, glusterdStub(t, c.answer))
			d, err := l.Describe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d.Policy != h.Told() {
				t.Errorf("policy %+v, want %+v", d.Policy, h.Told())
			}
			if d.GlusterdReady != c.ready {
				t.Errorf("ready %t, want %t; %q", d.GlusterdReady, c.ready, d.Problems)
			}
			if text := strings.Join(d.Problems, "\n"); strings.Contains(text, "glusterd") == c.ready || !strings.Contains(text, "root1") {
				t.Errorf("problems %q", d.Problems)
			}
		})
	}
	l := newLocal(t, h, &clusterStub{}, "/nowhere/glusterd.socket")
	if d, err := l.Describe(t.Context()); err != nil || d.GlusterdReady {
		t.Errorf("without a socket: %t, %v", d.GlusterdReady, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Describe(ctx); !volume.Is(err, volume.Unavailable) {
		t.Errorf("for a caller that has gone: %v", err)
	}
}

func TestPartialListIsAnError(t *testing.T) {
	l := newLocal(t, &hostStub{}, &clusterStub{}, "/nowhere")
	all, err := l.Bricks(t.Context(), "")
	if len(all) != 0 || !volume.Is(err, volume.Precondition) || !strings.Contains(err.Error(), "node n1, brick root root1") {
		t.Errorf("got %v, %v", all, err)
	}
}

// replicated returns a volume of ours whose second brick is on this host.
func replicated(name, typ, size string) gluster.Volume {
	v := gluster.Volume{Name: name, Options: map[string]string{
		"user.bricklayer.handle": "bl1.plain.lab." + name, "user.bricklayer.type": typ, "user.bricklayer.size": size,
		"user.bricklayer.gid": "2000", "user.bricklayer.created": "1700000000", "user.bricklayer.fingerprint": "f", "user.bricklayer.layout": "a/root1,n1/root1,c/root1",
	}}
	for _, host := range []string{"192.0.2.1", "127.0.0.1", "192.0.2.3"} {
		v.Bricks = append(v.Bricks, gluster.Brick{Host: host, Path: "/bricks/root1/volumes/" + name + "/brick"})
	}
	return v
}

func TestRepairQuotas(t *testing.T) {
	arbiter := replicated("arbiter", "replicate:3:arbiter:1", "10737418240")
	arbiter.Bricks[1].Host, arbiter.Bricks[2].Host = arbiter.Bricks[2].Host, arbiter.Bricks[1].Host
	foreign := replicated("foreign", "replicate:3", "1048576")
	delete(foreign.Options, "user.bricklayer.handle")
	otherPool := replicated("otherpool", "replicate:3", "1048576")
	otherPool.Options["user.bricklayer.handle"] = "bl1.plain.other.otherpool"
	free := replicated("free", "replicate:3", "1048576")
	free.Options["user.bricklayer.quota"] = "none"
	elsewhere := replicated("elsewhere", "replicate:3", "1048576")
	elsewhere.Bricks[1].Path = "/data/elsewhere/brick"
	h := &hostStub{}
	c := &clusterStub{volumes: []gluster.Volume{
		replicated("a", "replicate:3", "2147483648"), arbiter, replicated("d", "disperse:2:1", "2097152"),
		foreign, otherPool, free, elsewhere,
		replicated("odd", "disperse:2:1", "1048577"), replicated("few", "replicate:2", "1048576"), replicated("none", "what", "x"),
	}}
	err := newLocal(t, h, c, "/nowhere").RepairQuotas(t.Context())
	expect := func(name, typ string, size, quota volume.Size) brick.Expectation {
		return brick.Expectation{
			Ref: brick.Ref{Root: "root1", Volume: name}, Quota: brick.Quota{Bytes: quota},
			Mark: &brick.Mark{
				Handle: "bl1.plain.lab." + name, Size: size, Type: typ, Fingerprint: "f", GID: 2000,
				Layout: []brick.Place{{Node: "a", Root: "root1"}, {Node: "n1", Root: "root1"}, {Node: "c", Root: "root1"}},
			},
		}
	}
	want := []brick.Expectation{
		expect("a", "replicate:3", 2*volume.GiB, 2*volume.GiB),
		expect("arbiter", "replicate:3:arbiter:1", 10*volume.GiB, 640*volume.MiB),
		expect("d", "disperse:2:1", 2*volume.MiB, volume.MiB),
	}
	if diff := cmp.Diff([][]brick.Expectation{want}, h.asked()); diff != "" {
		t.Errorf("expectations (-want +got):\n%s", diff)
	}
	for _, name := range []string{"odd", "few", "none"} {
		if err == nil || !strings.Contains(err.Error(), "volume "+name) {
			t.Errorf("the error does not name volume %s: %v", name, err)
		}
	}
}

func TestInUse(t *testing.T) {
	c := &clusterStub{volumes: []gluster.Volume{replicated("a", "replicate:3", "1"), {Name: "x", Bricks: []gluster.Brick{
		{Host: "192.0.2.1", Path: "/bricks/root1/volumes/gone/brick"}, {Host: "no-such-host.invalid", Path: "/bricks/root1/volumes/unsure/brick"},
	}}}}
	l := newLocal(t, &hostStub{}, c, "/nowhere")
	for name, want := range map[string]bool{"a": true, "b": false, "gone": false, "unsure": true} {
		if got, err := l.InUse(t.Context(), "/bricks/root1/volumes/"+name+"/brick"); got != want || err != nil {
			t.Errorf("%s: %t, %v; want %t", name, got, err, want)
		}
	}
}

func TestCommandsAreBounded(t *testing.T) {
	c := &clusterStub{block: make(chan struct{})}
	l := newLocal(t, &hostStub{}, c, "/nowhere")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := l.Volumes(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	awaitNode(t.Context(), t, "all turns are taken", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := l.Volumes(ctx); !volume.Is(err, volume.Busy) {
			return errors.Join(errors.New("a turn was free"), err)
		}
		return nil
	})
	close(c.block)
	all.Wait()
	if _, err := l.Volumes(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestUpkeep sees it repair at the start and again, learn Gluster's version,
// and end with its context; while glusterd is not there it asks nothing.
func TestUpkeep(t *testing.T) {
	h := &hostStub{}
	c := &clusterStub{volumes: []gluster.Volume{replicated("a", "replicate:3", "1048576")}}
	l := newLocal(t, h, c, glusterdStub(t, glusterdAnswer))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Upkeep(ctx)
	}()
	awaitNode(t.Context(), t, "it repairs twice", func() error {
		if n := len(h.asked()); n < 2 {
			return errors.New("not yet")
		}
		return nil
	})
	if d, err := l.Describe(t.Context()); err != nil || d.GlusterVersion != "10.3" {
		t.Errorf("version %q, %v", d.GlusterVersion, err)
	}
	cancel()
	<-done
}

// TestLocalRefuses holds Local's own checks to what the fake refuses.
func TestLocalRefuses(t *testing.T) {
	n := agenttest.New(agenttest.Default(1)).Node("n1")
	l := newLocal(t, &hostStub{}, n, "/nowhere")
	for what, err := range map[string]error{
		"delete": l.DeleteVolume(t.Context(), "all"),
		"stop":   l.StopVolume(t.Context(), "--x"),
		"set":    l.SetOptions(t.Context(), "x", nil),
		"create": l.CreateVolume(t.Context(), gluster.CreateRequest{Name: "x", Bricks: []gluster.Brick{{Host: "n1", Path: "/etc"}}}),
		"init":   l.InitRoot(t.Context(), "root9"),
		"probe":  l.ProbePeer(t.Context(), "127.0.0.1"),
		"remove": l.RemoveBrick(t.Context(), brick.RemoveRequest{}),
		"quota":  func() error { _, err := l.SetQuota(t.Context(), brick.Ref{}, brick.Quota{}); return err }(),
		"make":   func() error { _, err := l.MakeBrick(t.Context(), brick.MakeRequest{}); return err }(),
	} {
		if err == nil || !volume.KindOf(err).Definite() || !strings.Contains(err.Error(), "node n1") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
