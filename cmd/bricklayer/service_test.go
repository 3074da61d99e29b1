package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/kubernetes/fake"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/csi"
)

// syncBuffer is a buffer that a service writes to while a test reads it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start runs a service until the test ends, and returns what it logs. It must end
// with exit code 0.
func start(t *testing.T, c *command, args ...string) *syncBuffer {
	t.Helper()
	log := &syncBuffer{}
	env := environment{
		in: strings.NewReader(""), out: log, err: log, getenv: func(n string) string { return c.env[n] },
		dial:       func(*poolsOptions, string) (agents, error) { return fakeAgents{c.cluster}, nil },
		kubernetes: c.kubernetes, storagePools: c.storagePools,
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- run(ctx, env, args) }()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != exitOK {
			t.Errorf("the service ended with exit code %d\n%s", code, log)
		}
	})
	return log
}

// serve starts a service with a socket, and returns a connection to that and what
// it logs. It must remove its socket.
func serve(t *testing.T, c *command, args ...string) (*grpc.ClientConn, *syncBuffer) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "csi.sock")
	t.Cleanup(func() {
		if _, err := os.Stat(socket); !os.IsNotExist(err) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	log := start(t, c, append(args, "--endpoint", "unix://"+socket)...)
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, log
}

func call(t *testing.T) (context.Context, grpc.CallOption) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx, grpc.WaitForReady(true) // the service may still be starting
}

func TestControllerServes(t *testing.T) {
	c := newCommand(t)
	conn, log := serve(t, c, "controller", "--driver-name", "other.example")
	ctx, ready := call(t)
	probe, err := csipb.NewIdentityClient(conn).Probe(ctx, &csipb.ProbeRequest{}, ready)
	if err != nil || !probe.GetReady().GetValue() {
		t.Fatalf("probe: %v, %v\n%s", probe, err, log)
	}
	info, err := csipb.NewIdentityClient(conn).GetPluginInfo(ctx, &csipb.GetPluginInfoRequest{})
	if err != nil || info.GetName() != "other.example" || info.GetVendorVersion() != version {
		t.Errorf("plugin info: %v, %v", info, err)
	}
	created, err := csipb.NewControllerClient(conn).CreateVolume(ctx, &csipb.CreateVolumeRequest{
		Name:          "pvc-1",
		CapacityRange: &csipb.CapacityRange{RequiredBytes: 1 << 30},
		VolumeCapabilities: []*csipb.VolumeCapability{{
			AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{}},
			AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
		}},
	})
	if err != nil {
		t.Fatalf("create: %v\n%s", err, log)
	}
	if out := c.must(t, "volume", "list"); !strings.Contains(out, created.GetVolume().GetVolumeId()) {
		t.Errorf("the administrator's commands do not see what CSI created:\n%s", out)
	}
	if _, err := csipb.NewControllerClient(conn).DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: created.GetVolume().GetVolumeId()}); err != nil {
		t.Errorf("delete: %v", err)
	}
	for _, n := range []string{"n1", "n2", "n3"} {
		c.cluster.SetState(n, agenttest.Off)
	}
	if probe, err := csipb.NewIdentityClient(conn).Probe(ctx, &csipb.ProbeRequest{}); err != nil || probe.GetReady().GetValue() {
		t.Errorf("probe while no node answers: %v, %v; want not ready", probe, err)
	}
	c.cluster.CheckEmpty(t)
}

// TestControllerFollowsPools adds a pool while the controller runs.
func TestControllerFollowsPools(t *testing.T) {
	c := newCommand(t)
	conn, log := serve(t, c, "controller")
	ctx, ready := call(t)
	capacity := func(pool string) error {
		_, err := csipb.NewControllerClient(conn).GetCapacity(ctx, &csipb.GetCapacityRequest{Parameters: map[string]string{"pool": pool}}, ready)
		return err
	}
	if err := capacity("more"); err == nil {
		t.Fatal("a pool that is not there has capacity")
	}
	text := testPool + "---\n" + strings.Replace(testPool, "name: lab", "name: more", 1)
	if err := os.WriteFile(c.env["BRICKLAYER_POOLS"], []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for err := capacity("more"); err != nil; err = capacity("more") {
		select {
		case <-ctx.Done():
			t.Fatalf("the new pool never came: %v\n%s", err, log)
		case <-tick.C:
		}
	}
}

func TestNodeServes(t *testing.T) {
	conn, log := serve(t, newCommand(t), "node", "--node-id", "worker-1", "--client-log-dir", t.TempDir())
	ctx, ready := call(t)
	info, err := csipb.NewNodeClient(conn).NodeGetInfo(ctx, &csipb.NodeGetInfoRequest{}, ready)
	if err != nil || info.GetNodeId() != "worker-1" {
		t.Errorf("node info: %v, %v\n%s", info, err, log)
	}
}

// TestNodeAsksTheMountService has the node service without a client of its own,
// registered with kubelet.
func TestNodeAsksTheMountService(t *testing.T) {
	c := newCommand(t)
	c.kubernetes = fake.NewClientset()
	dir := t.TempDir()
	mounts, mountLog := serve(t, c, "mountd", "--client-log-dir", t.TempDir(), "--kubelet-dir", dir)
	endpoint := "unix://" + strings.TrimPrefix(mounts.Target(), "unix:")
	conn, log := serve(t, c, "node", "--node-id", "worker-1", "--mount-service", endpoint, "--kubelet-registration-dir", dir, "--pod-events")
	ctx, ready := call(t)
	if _, err := csipb.NewNodeClient(conn).NodeGetStorageHealth(ctx, &csipb.NodeGetStorageHealthRequest{}, ready); err != nil {
		t.Errorf("the node service does not reach the mount service: %v\n%s\n%s", err, log, mountLog)
	}
	kubelet, err := grpc.NewClient("unix:"+filepath.Join(dir, csi.DefaultDriverName+"-reg.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kubelet.Close() })
	info, err := registerapi.NewRegistrationClient(kubelet).GetInfo(ctx, &registerapi.InfoRequest{}, ready)
	if err != nil || info.GetName() != csi.DefaultDriverName || "unix:"+info.GetEndpoint() != conn.Target() {
		t.Errorf("registration: %v, %v; want the endpoint %s\n%s", info, err, conn.Target(), log)
	}
}
