package csi

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/fsgroup"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/lifecycle/lifecycletest"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mount/mounttest"
	"bricklayer.csi/internal/plain"
	"bricklayer.csi/internal/volume"
)

// driver is a whole plugin on a socket: the real use cases and the real plain
// backend over storage nodes in memory, and mounts in memory.
type driver struct {
	cluster    *agenttest.Cluster
	backend    *plain.Backend
	mounts     *mounttest.Fake
	groups     *fakeGroups
	log        *logBuffer
	endpoint   string
	identity   csipb.IdentityClient
	controller csipb.ControllerClient
	node       csipb.NodeClient
}

func newBackend(c *agenttest.Cluster) *plain.Backend {
	config := plain.Config{Pool: c.Config().Pool, ClientNetworks: []string{"10.90.0.0/24"}, Guard: guard.Settings{Operations: 4}}
	for i, n := range c.Config().Nodes {
		node := plain.Node{Name: n.Name, Address: n.Address, Zone: n.Zone, Agent: c.Nodes()[i]}
		for _, r := range n.Roots {
			node.Roots = append(node.Roots, r.Name)
		}
		config.Nodes = append(config.Nodes, node)
	}
	return plain.New(config, slog.New(slog.DiscardHandler))
}

// newDriver starts a plugin that ends with the test.
func newDriver(t *testing.T) *driver {
	t.Helper()
	d := &driver{cluster: agenttest.New(agenttest.Default(3)), mounts: mounttest.NewFake(), groups: &fakeGroups{}, log: &logBuffer{}}
	d.backend = newBackend(d.cluster)
	d.mounts.Volume = d.df
	log := slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	controller := NewController(lifecycletest.OnePool{Pool: d.backend.Pool, Name: volume.Plain, Backing: d.backend}.Service(), log)
	d.serve(t, controller, d.mounts, log)
	return d
}

// df shows of a mounted volume what a client would: its size.
func (d *driver) df(name string) (mount.Usage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	v, err := d.backend.Get(ctx, volume.Handle{Backend: volume.Plain, Pool: d.backend.Pool, Name: name})
	if err != nil {
		return mount.Usage{}, err
	}
	size := int64(v.Size)
	return mount.Usage{Total: size, Free: size - 4096, Available: size - 4096, Files: 1000, FilesFree: 900}, nil
}

func (d *driver) serve(t *testing.T, controller *Controller, mounts mount.Mounter, log *slog.Logger) {
	t.Helper()
	node, err := NewNode(NodeOptions{ID: "worker1", Mounts: mounts, Log: log, Groups: d.groupsOrReal()})
	if err != nil {
		t.Fatal(err)
	}
	identity, err := NewIdentity(IdentityOptions{Version: "test", Ready: mounts.Ready, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	d.endpoint = "unix://" + filepath.Join(t.TempDir(), "csi.sock")
	conn := serve(t, ServerOptions{Endpoint: d.endpoint, Identity: identity, Controller: controller, Node: node, Log: log})
	d.identity, d.controller, d.node = csipb.NewIdentityClient(conn), csipb.NewControllerClient(conn), csipb.NewNodeClient(conn)
}

// groupsOrReal returns the fake where the mounts are fake: there are no files to change.
func (d *driver) groupsOrReal() Groups {
	if d.groups == nil {
		return nil
	}
	return d.groups
}

// fakeGroups notes what it is asked.
type fakeGroups struct {
	mu    sync.Mutex
	calls []string
	fail  error
}

func (g *fakeGroups) Apply(_ context.Context, v fsgroup.Volume, gid int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, fmt.Sprintf("%s %s %s %d", v.Name, filepath.Base(v.Dir), v.Device, gid))
	return g.fail
}

func (g *fakeGroups) Stop(_ context.Context, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, "stop "+name)
}

// take returns the calls since the last take, and sets what the next ones return.
func (g *fakeGroups) take(fail error) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	calls := g.calls
	g.calls, g.fail = nil, fail
	return calls
}

// serve runs a server until the test ends, and returns a connection to it.
func serve(t *testing.T, o ServerOptions) *grpc.ClientConn {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s, err := NewServer(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	conn := dialSocket(t, s.path)
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return conn
}

func dialSocket(t *testing.T, path string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///csi", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute) // cleanups use it too
	t.Cleanup(cancel)
	return ctx
}

// logBuffer is a log that many goroutines write.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// capability returns a mount capability of that access mode.
func capability(mode csipb.VolumeCapability_AccessMode_Mode, flags ...string) *csipb.VolumeCapability {
	return &csipb.VolumeCapability{
		AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{MountFlags: flags}},
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: mode},
	}
}

// createRequest returns a request that succeeds.
func createRequest(name string) *csipb.CreateVolumeRequest {
	return &csipb.CreateVolumeRequest{
		Name:               name,
		CapacityRange:      &csipb.CapacityRange{RequiredBytes: 1 << 30},
		VolumeCapabilities: []*csipb.VolumeCapability{capability(csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)},
	}
}

// mustCreate creates a volume.
func (d *driver) mustCreate(t *testing.T, name string) *csipb.Volume {
	t.Helper()
	resp, err := d.controller.CreateVolume(testContext(t), createRequest(name))
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetVolume()
}
