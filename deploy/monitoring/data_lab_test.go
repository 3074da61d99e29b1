//go:build lab

package monitoring_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/lab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() { // its test in the lab is a long one
		os.Exit(m.Run())
	}
	os.Exit(lab.Main(m))
}

// withoutKubernetes are the panels of which only Kubernetes' queues tell.
var withoutKubernetes = map[string]string{
	"Queue length": "no claims", "Longest work in progress": "no claims", "Repetitions": "no claims",
}

// A real Prometheus has data for the queries of the dashboard, from real agents, a
// controller, a node service and its mounts, and no alert stirs while all is well.
func TestPrometheusHasData(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	l := lab.Current()
	t.Cleanup(func() { labtest.CheckEmpty(t) })
	s := startServices(t, l)
	var agents []string
	for _, n := range l.Nodes() {
		agents = append(agents, fmt.Sprintf("%s:%d", n.Address, lab.AgentMetricsPort))
	}
	p := labtest.StartPrometheus(t, "../..", alertsFile, []any{
		scrape("bricklayer", s.metrics...), scrape("bricklayer-agents", agents...),
	})
	labtest.Eventually(t, time.Minute, func(ctx context.Context) error { return p.AllUp(ctx, len(s.metrics)+len(agents)) })
	s.use(t)
	panels, empty := labtest.Panels(t, dashboardFile), labtest.EmptyPanels(t.Context(), l.Exec, l.Nodes()[0].Name)
	for title, why := range withoutKubernetes {
		empty[title] = why
	}
	labtest.Eventually(t, time.Minute, func(ctx context.Context) error { return p.HasAll(ctx, panels, empty) })
	t.Logf("of %d panels all have data but %v", len(panels), empty)
	labtest.Eventually(t, time.Minute, func(ctx context.Context) error { return p.Quiet(ctx, labtest.LabAlerts) })
}

func scrape(job string, targets ...string) map[string]any {
	return map[string]any{"job_name": job, "static_configs": []any{map[string]any{"targets": targets}}}
}

// services are the processes of an installation without Kubernetes.
type services struct {
	metrics    []string // where they tell
	controller csipb.ControllerClient
	node       csipb.NodeClient
	dir        string // below which volumes are mounted
}

func startServices(t *testing.T, l *lab.Lab) services {
	t.Helper()
	s := services{dir: filepath.Join(l.MountDir(), t.Name())}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	sockets := t.TempDir()
	endpoint := func(name string) string { return "unix://" + filepath.Join(sockets, name) }
	run := func(service string, args ...string) {
		address := labtest.FreeAddress(t)
		s.metrics = append(s.metrics, address)
		labtest.Run(t, sockets, l.Program(), append([]string{service, "--endpoint", endpoint(service), "--metrics-address", address}, args...)...)
	}
	run("controller", "--pools", l.PoolFile(), "--certs", filepath.Join(l.CertsDir(), "controller"))
	run("mountd", "--kubelet-dir", s.dir, "--client-log-dir", sockets)
	run("node", "--node-id", "w1", "--mount-service", endpoint("mountd"))
	dial := func(name string) *grpc.ClientConn {
		conn, err := grpc.NewClient("unix:"+filepath.Join(sockets, name), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	s.controller, s.node = csipb.NewControllerClient(dial("controller")), csipb.NewNodeClient(dial("node"))
	return s
}

var capability = &csipb.VolumeCapability{
	AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{}},
	AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
}

// use makes, mounts, grows and removes volumes. One stays mounted until the test ends.
func (s services) use(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	stays, goes := s.mount(ctx, t, "stays"), s.mount(ctx, t, "goes")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		s.remove(ctx, t, "stays", stays)
	})
	if _, err := s.controller.ControllerExpandVolume(ctx, &csipb.ControllerExpandVolumeRequest{
		VolumeId: stays, CapacityRange: &csipb.CapacityRange{RequiredBytes: 128 << 20}, VolumeCapability: capability,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.node.NodeGetVolumeStats(ctx, &csipb.NodeGetVolumeStatsRequest{VolumeId: stays, VolumePath: s.target("stays")}); err != nil {
		t.Fatal(err)
	}
	s.remove(ctx, t, "goes", goes)
}

func (s services) staging(name string) string { return filepath.Join(s.dir, name+"-staged") }
func (s services) target(name string) string  { return filepath.Join(s.dir, name) }

func (s services) mount(ctx context.Context, t *testing.T, name string) (id string) {
	t.Helper()
	made, err := s.controller.CreateVolume(ctx, &csipb.CreateVolumeRequest{
		Name: name, CapacityRange: &csipb.CapacityRange{RequiredBytes: 64 << 20}, VolumeCapabilities: []*csipb.VolumeCapability{capability},
	})
	if err != nil {
		t.Fatal(err)
	}
	v := made.GetVolume()
	if _, err := s.node.NodeStageVolume(ctx, &csipb.NodeStageVolumeRequest{
		VolumeId: v.GetVolumeId(), StagingTargetPath: s.staging(name), VolumeCapability: capability, VolumeContext: v.GetVolumeContext(),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.node.NodePublishVolume(ctx, &csipb.NodePublishVolumeRequest{
		VolumeId: v.GetVolumeId(), StagingTargetPath: s.staging(name), TargetPath: s.target(name),
		VolumeCapability: capability, VolumeContext: v.GetVolumeContext(),
	}); err != nil {
		t.Fatal(err)
	}
	return v.GetVolumeId()
}

func (s services) remove(ctx context.Context, t *testing.T, name, id string) {
	t.Helper()
	if _, err := s.node.NodeUnpublishVolume(ctx, &csipb.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: s.target(name)}); err != nil {
		t.Error(err)
	}
	if _, err := s.node.NodeUnstageVolume(ctx, &csipb.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: s.staging(name)}); err != nil {
		t.Error(err)
	}
	if _, err := s.controller.DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: id}); err != nil {
		t.Error(err)
	}
}
