//go:build lab

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/lab"
)

// workerHost is a worker node with the mount service and the node service as processes
// of their own.
type workerHost struct {
	t            *testing.T
	program, dir string
	node         csipb.NodeClient
	procs        map[string]*exec.Cmd
	volume       string
}

func newHost(t *testing.T, volume string) *workerHost {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := &workerHost{t: t, dir: dir, program: filepath.Join(dir, "bricklayer"), procs: map[string]*exec.Cmd{}, volume: volume}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", h.program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, d := range []string{"kubelet/staging", "plugins_registry", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for name := range h.procs {
			h.end(name, syscall.SIGTERM)
		}
		for _, m := range []string{"a", "b", "c", "staging"} { // what a failed test left
			_ = exec.CommandContext(context.WithoutCancel(t.Context()), "umount", "-l", h.path(m)).Run()
		}
	})
	conn, err := grpc.NewClient("unix:"+dir+"/csi.sock", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	h.node = csipb.NewNodeClient(conn)
	return h
}

func (h *workerHost) path(name string) string { return filepath.Join(h.dir, "kubelet", name) }

func (h *workerHost) startMountd() {
	h.start("mountd", "--endpoint", "unix://"+h.dir+"/mountd.sock", "--kubelet-dir", h.dir+"/kubelet", "--client-log-dir", h.dir+"/log")
}

func (h *workerHost) startNode() {
	h.start("node", "--endpoint", "unix://"+h.dir+"/csi.sock", "--mount-service", "unix://"+h.dir+"/mountd.sock",
		"--kubelet-registration-dir", h.dir+"/plugins_registry", "--node-id", "w1")
}

func (h *workerHost) start(verb string, args ...string) {
	h.t.Helper()
	cmd := exec.Command(h.program, append([]string{verb}, args...)...) //nolint:noctx // it is ended by signals, which is what is tested
	cmd.Stdout, cmd.Stderr = h.t.Output(), h.t.Output()
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.procs[verb] = cmd
}

// end ends a process by a signal and waits for it.
func (h *workerHost) end(verb string, by syscall.Signal) {
	h.t.Helper()
	cmd := h.procs[verb]
	delete(h.procs, verb)
	if err := cmd.Process.Signal(by); err != nil {
		h.t.Error(err)
	}
	if err := cmd.Wait(); err != nil && by == syscall.SIGTERM {
		h.t.Errorf("%s ended with %v", verb, err)
	}
}

func (h *workerHost) id() string { return "bl1.plain.lab." + h.volume }

func (h *workerHost) request(gid string) (*csipb.VolumeCapability, map[string]string) {
	var servers []string
	for _, n := range lab.Current().Nodes() {
		servers = append(servers, n.Address.String())
	}
	return &csipb.VolumeCapability{
		AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{VolumeMountGroup: gid}},
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
	}, map[string]string{"servers": strings.Join(servers, ","), "volume": h.volume}
}

// publish stages the volume and publishes it for a pod, again until both
// succeed, as kubelet does.
func (h *workerHost) publish(pod, gid string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Minute)
	defer cancel()
	capability, volumeContext := h.request(gid)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := h.node.NodeStageVolume(ctx, &csipb.NodeStageVolumeRequest{
			VolumeId: h.id(), StagingTargetPath: h.path("staging"), VolumeCapability: capability, VolumeContext: volumeContext,
		}, grpc.WaitForReady(true))
		if err == nil {
			_, err = h.node.NodePublishVolume(ctx, &csipb.NodePublishVolumeRequest{
				VolumeId: h.id(), StagingTargetPath: h.path("staging"), TargetPath: h.path(pod), VolumeCapability: capability, VolumeContext: volumeContext,
			})
		}
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			h.t.Fatalf("publish for %s: %v", pod, err)
		}
	}
}

// health returns the reasons and messages of what is wrong with the volume.
func (h *workerHost) health() string {
	h.t.Helper()
	resp, err := h.node.NodeGetVolumeHealth(h.t.Context(), &csipb.NodeGetVolumeHealthRequest{VolumeId: h.id()}, grpc.WaitForReady(true))
	if err != nil {
		h.t.Fatal(err)
	}
	var all []string
	for _, e := range resp.GetVolumeHealth().GetHealthStatuses() {
		all = append(all, e.GetReason()+": "+e.GetMessage())
	}
	return strings.Join(all, "\n")
}

// client returns the process that serves the staging mount.
func (h *workerHost) client() string {
	h.t.Helper()
	out, err := exec.CommandContext(h.t.Context(), "pgrep", "-f", "^glusterfs .*"+h.path("staging")+"$").Output()
	pid := strings.TrimSpace(string(out))
	if err != nil || strings.Contains(pid, "\n") {
		h.t.Fatalf("the client: %q, %v", pid, err)
	}
	return pid
}

func (h *workerHost) killClient() {
	h.t.Helper()
	if out, err := exec.CommandContext(h.t.Context(), "kill", "-KILL", h.client()).CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	h.until("the mount is stale", func() bool { return strings.Contains(h.health(), "StaleMount") })
}

func (h *workerHost) until(what string, is func() bool) {
	h.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-limit.C:
			h.t.Fatalf("not in time: %s", what)
		}
	}
}

// writer appends to a file, and syncs, until it is stopped or fails.
type writer struct {
	lines atomic.Int64
	stop  context.CancelFunc
	done  chan error
}

func (h *workerHost) write(path string) *writer {
	h.t.Helper()
	file, err := os.Create(path)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(h.t.Context())
	w := &writer{stop: stop, done: make(chan error, 1)}
	go func() {
		defer file.Close()
		for ctx.Err() == nil {
			if _, err := fmt.Fprintf(file, "%d\n", w.lines.Load()); err != nil {
				w.done <- err
				return
			}
			if err := file.Sync(); err != nil {
				w.done <- err
				return
			}
			w.lines.Add(1)
		}
		w.done <- nil
	}()
	return w
}

// more waits until the writer wrote some more.
func (h *workerHost) more(w *writer) {
	h.t.Helper()
	from := w.lines.Load()
	h.until("the pod writes on", func() bool { return w.lines.Load() > from+10 })
}

// TestMountsOutliveTheNodeService restarts everything that can be restarted
// under a pod that writes, and then kills the one thing that cannot.
func TestMountsOutliveTheNodeService(t *testing.T) {
	labtest.CheckEmpty(t)
	if out, errs, code := labRun(t, labEnv(), "volume", "create", "mountd", "--size", "256MiB"); code != exitOK {
		t.Fatalf("%s%s", out, errs)
	}
	t.Cleanup(func() { labRun(t, labEnv(), "volume", "delete", "mountd", "--yes") })
	h := newHost(t, "mountd")
	h.startMountd()
	h.startNode()
	h.publish("a", "1000")
	w := h.write(h.path("a") + "/log")
	client := h.client()
	h.more(w)

	for _, by := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		h.end("node", by)
		h.more(w)
		h.startNode()
		h.publish("a", "1000")
		h.testRegistered()
		// As systemd does with KillMode=process: the clients live on.
		h.end("mountd", by)
		h.more(w)
		h.startMountd()
		h.publish("a", "1000")
		h.more(w)
	}
	w.stop()
	if err := <-w.done; err != nil {
		t.Errorf("the pod could not write on: %v", err)
	}
	if now := h.client(); now != client {
		t.Errorf("the client is process %s; it was %s", now, client)
	}
	if got := h.health(); got != "" {
		t.Errorf("health: %s", got)
	}
	t.Run("a client that dies is replaced", func(t *testing.T) { h.t = t; h.testDeadClient() })
	t.Run("a pod's group", func(t *testing.T) { h.t = t; h.testGroup() })
	h.t = t
	h.tearDown()
}

func (h *workerHost) testRegistered() {
	h.t.Helper()
	conn, err := grpc.NewClient("unix:"+h.dir+"/plugins_registry/bricklayer.csi-reg.sock", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	info, err := registerapi.NewRegistrationClient(conn).GetInfo(h.t.Context(), &registerapi.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil || info.GetEndpoint() != h.dir+"/csi.sock" {
		h.t.Errorf("registration: %v, %v", info, err)
	}
}

func (h *workerHost) testDeadClient() {
	h.killClient()
	h.t.Log(h.health())
	h.publish("b", "")
	if err := os.WriteFile(h.path("b")+"/new", []byte("x"), 0o600); err != nil {
		h.t.Errorf("a new pod's mount is not well: %v", err)
	}
	h.publish("a", "1000") // as kubelet does where the CSIDriver says requiresRepublish
	if _, err := os.Stat(h.path("a") + "/new"); err != nil {
		h.t.Errorf("the old pod's path still shows the dead client: %v", err)
	}
	h.killClient() // of this one the service knows how it ended, once it has been told
	got := h.health()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(got, "signal: killed"); got = h.health() {
		if time.Now().After(end) {
			h.t.Errorf("health does not say how the client ended: %s", got)
			break
		}
	}
	h.t.Log(got)
	h.publish("b", "")
	h.publish("a", "1000")
	if got := h.health(); got != "" {
		h.t.Errorf("health: %s", got)
	}
}

// files is how many files the volume of testGroup has, in hundreds: a loaded lab
// changes some ten a second.
const files = 200

func (h *workerHost) testGroup() {
	for i := range files / 100 {
		dir := fmt.Sprintf("%s/d%d", h.path("a"), i)
		if err := os.Mkdir(dir, 0o700); err != nil {
			h.t.Fatal(err)
		}
		for j := range 100 {
			if err := os.WriteFile(fmt.Sprintf("%s/f%d", dir, j), nil, 0o600); err != nil {
				h.t.Fatal(err)
			}
		}
	}
	for _, again := range []string{"", "again"} {
		began := time.Now()
		h.publish("c", "2000")
		h.t.Logf("published for a pod of another group, %d files, %s: %v", files, again, time.Since(began))
		for _, name := range []string{"", "/d0", "/d1/f99", "/log"} {
			info, err := os.Stat(h.path("c") + name)
			if err != nil {
				h.t.Fatal(err)
			}
			if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Gid != 2000 || info.Mode()&0o060 != 0o060 {
				h.t.Errorf("%q belongs to group %d, mode %v", name, st.Gid, info.Mode())
			}
		}
		h.unpublish("c")
	}
}

func (h *workerHost) unpublish(pod string) {
	h.t.Helper()
	if _, err := h.node.NodeUnpublishVolume(h.t.Context(), &csipb.NodeUnpublishVolumeRequest{VolumeId: h.id(), TargetPath: h.path(pod)}); err != nil {
		h.t.Errorf("unpublish %s: %v", pod, err)
	}
}

func (h *workerHost) tearDown() {
	h.t.Helper()
	h.unpublish("a")
	h.unpublish("b")
	_, err := h.node.NodeUnstageVolume(h.t.Context(), &csipb.NodeUnstageVolumeRequest{VolumeId: h.id(), StagingTargetPath: h.path("staging")})
	if err != nil {
		h.t.Errorf("unstage: %v", err)
	}
	h.until("no client is left", func() bool {
		return exec.CommandContext(h.t.Context(), "pgrep", "-f", "glusterfs .*"+h.dir).Run() != nil
	})
}
