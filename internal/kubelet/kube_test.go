//go:build kube && lab

package kubelet_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

const (
	testDriver = "node-test.bricklayer.csi" // beside a chart that may be installed
	testName   = "kubelet-test"
	worker     = "w1"
	plugins    = "/var/lib/kubelet/plugins/" + testDriver
)

// objects are what a person would make for a volume that exists: a driver, a
// PersistentVolume and a claim for it. The arguments are the servers of the volume file.
const objects = `
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: node-test.bricklayer.csi}
spec: {attachRequired: false, podInfoOnMount: false, fsGroupPolicy: File}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: kubelet-test}
spec:
  capacity: {storage: 128Mi}
  accessModes: [ReadWriteMany]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  claimRef: {namespace: default, name: kubelet-test}
  csi:
    driver: node-test.bricklayer.csi
    volumeHandle: bl1.plain.lab.kubelet-test
    volumeAttributes: {volume: kubelet-test, servers: "%s"}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kubelet-test}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: ""
  volumeName: kubelet-test
  resources: {requests: {storage: 128Mi}}
`

// podObject is a pod of an ordinary user that appends to a file, and notes when it
// could not. The arguments are its name, its fsGroup and its name again.
const podObject = `
apiVersion: v1
kind: Pod
metadata: {name: kubelet-test-%s}
spec:
  nodeName: w1
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 4242, runAsGroup: 4242, fsGroup: %d}
  containers:
  - name: main
    image: bricklayer.lab/busybox:1
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "trap exit TERM; while :; do { echo line >> /data/%s && sync /data/%[1]s; } || touch /dev/shm/failed; sleep 0.1; done"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: kubelet-test}
`

// site is a worker of the lab on which mount and node service run as processes.
type site struct {
	*lab.Lab
	t            *testing.T
	dir, program string
	started      []*exec.Cmd
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Lab: lab.Current(), t: t, dir: t.TempDir()}
	if err := s.EnsureKubernetes(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.program = filepath.Join(s.dir, "bricklayer")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "../../cmd/bricklayer")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The worker has a /var/lib of its own, and does not see the lab's files.
	config, err := os.ReadFile(s.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "kubeconfig"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// admin runs an administrator's command.
func (s *site) admin(ctx context.Context, args ...string) {
	s.t.Helper()
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Env = []string{"BRICKLAYER_POOLS=" + s.PoolFile(), "BRICKLAYER_CERTS=" + filepath.Join(s.CertsDir(), "controller"), "PATH=/usr/bin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Errorf("bricklayer %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (s *site) start(verb string, args ...string) {
	s.t.Helper()
	argv, err := s.WorkerArgv(worker, append([]string{s.program, verb}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // it is ended by a signal on the worker
	cmd.Stdout, cmd.Stderr = s.t.Output(), s.t.Output()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.started = append(s.started, cmd)
}

// endAll ends what was started. It must come after everything that needs kubelet
// to unmount.
func (s *site) endAll() {
	s.kill("TERM", "node")
	s.kill("TERM", "mountd")
	for _, cmd := range s.started {
		_ = cmd.Wait()
	}
}

func (s *site) startMountd() {
	s.start("mountd", "--endpoint", "unix://"+plugins+"/mountd.sock")
}

func (s *site) startNode() {
	s.start("node", "--driver-name", testDriver, "--node-id", worker, "--endpoint", "unix://"+plugins+"/csi.sock",
		"--mount-service", "unix://"+plugins+"/mountd.sock", "--kubelet-registration-dir", "/var/lib/kubelet/plugins_registry",
		"--pod-events", "--kubeconfig", filepath.Join(s.dir, "kubeconfig"))
}

// kill sends a signal to what matches on the worker, which has processes of its own.
func (s *site) kill(signal, pattern string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), 20*time.Second)
	defer cancel()
	if pattern == "mountd" || pattern == "node" {
		pattern = "^" + s.program + " " + pattern
	}
	_, _ = s.InWorker(ctx, worker, "pkill", "-"+signal, "-f", pattern)
}

func (s *site) kubectl(input string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), time.Minute)
	defer cancel()
	out, err := s.KubectlInput(ctx, input, args...)
	if err != nil {
		s.t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

func (s *site) until(what string, is func() bool) {
	s.t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(2 * time.Minute)
	defer limit.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-limit.C:
			s.t.Fatalf("not in time: %s\n%s", what, s.kubectl("", "describe", "pods"))
		}
	}
}

func (s *site) registered() bool {
	return strings.Contains(s.kubectl("", "get", "csinode", worker, "-o", "jsonpath={.spec.drivers[*].name}"), testDriver)
}

// run makes a pod and waits until it writes.
func (s *site) run(name string, fsGroup int) {
	s.t.Helper()
	began := time.Now()
	s.kubectl(fmt.Sprintf(podObject, name, fsGroup, name), "apply", "-f", "-")
	s.t.Cleanup(func() {
		s.kubectl("", "delete", "pod", "kubelet-test-"+name, "--ignore-not-found", "--now", "--timeout=50s")
	})
	s.until("pod "+name+" runs", func() bool { return s.phase(name) == "Running" })
	s.t.Logf("pod %s runs after %v", name, time.Since(began))
	s.more(name)
}

func (s *site) phase(name string) string {
	return s.kubectl("", "get", "pod", "kubelet-test-"+name, "-o", "jsonpath={.status.phase}")
}

func (s *site) uid(name string) string {
	return s.kubectl("", "get", "pod", "kubelet-test-"+name, "-o", "jsonpath={.metadata.uid}")
}

// look runs a command at a pod's volume, as the worker sees it.
func (s *site) look(name string, argv ...string) string {
	s.t.Helper()
	argv = append(argv, "/var/lib/kubelet/pods/"+s.uid(name)+"/volumes/kubernetes.io~csi/kubelet-test/mount/"+name)
	out, err := s.InWorker(s.t.Context(), worker, argv...)
	if err != nil {
		return "" // not there yet
	}
	return strings.TrimSpace(string(out))
}

// more waits until a pod has written some more.
func (s *site) more(name string) {
	s.t.Helper()
	size := func() (n int) {
		_, _ = fmt.Sscan(s.look(name, "stat", "-c", "%s"), &n)
		return n
	}
	from := size()
	s.until("pod "+name+" writes on", func() bool { return size() > from+20 })
}

// failed reports whether a pod could not write at some time.
func (s *site) failed(name string) bool {
	s.t.Helper()
	return s.kubectl("", "exec", "kubelet-test-"+name, "--", "sh", "-c", "ls /dev/shm") != ""
}

// TestUnderKubelet has a real kubelet find the driver, mount for pods, lose and find
// it again, and a FUSE process die under running pods.
func TestUnderKubelet(t *testing.T) {
	if testing.Short() {
		t.Skip("the chart has pods of all kinds under kubelet; make test-k8s-long runs it")
	}
	s := newSite(t)
	var servers []string
	for _, n := range s.Nodes() {
		servers = append(servers, n.Address.String())
	}
	s.admin(t.Context(), "volume", "create", testName, "--size", "128MiB")
	t.Cleanup(func() { s.admin(context.WithoutCancel(t.Context()), "volume", "delete", testName, "--yes") })
	t.Cleanup(s.endAll)
	s.startMountd()
	s.startNode()
	s.kubectl(fmt.Sprintf(objects, strings.Join(servers, ",")), "apply", "-f", "-")
	t.Cleanup(func() {
		s.kubectl("", "delete", "pvc/kubelet-test", "pv/kubelet-test", "csidriver/"+testDriver, "--timeout=50s")
		s.until("nothing is mounted on the worker", func() bool {
			out, err := s.InWorker(context.WithoutCancel(t.Context()), worker, "sh", "-c", "grep -c kubelet-test /proc/mounts; true")
			return err == nil && strings.TrimSpace(string(out)) == "0"
		})
	})
	s.until("kubelet has the driver", s.registered)
	s.run("first", 1234)
	if gid := s.look("first", "stat", "-c", "%u:%g"); gid != "4242:1234" {
		t.Errorf("the file of a pod with fsGroup 1234 belongs to %s", gid)
	}

	s.kill("KILL", "node")
	s.more("first")
	if err := s.KillKubelet(t.Context(), worker); err != nil {
		t.Fatal(err)
	}
	s.startNode()
	if err := s.StartWorker(t.Context(), worker); err != nil {
		t.Fatal(err)
	}
	s.until("a kubelet that was restarted has the driver", s.registered)
	s.run("second", 1234)
	s.more("first")
	if s.failed("first") {
		t.Error("the first pod noticed that node service and kubelet were restarted")
	}

	s.kill("KILL", "^glusterfs .*volfile-id=/kubelet-test ")
	for _, pod := range []string{"first", "second"} {
		uid := s.uid(pod)
		s.until("an event tells pod "+pod, func() bool {
			events := s.kubectl("", "get", "events", "--field-selector", "reason=VolumeClientGone,involvedObject.uid="+uid, "-o", "jsonpath={.items[*].message}")
			if events != "" {
				t.Log(events)
			}
			return strings.Contains(events, "signal: killed") && strings.Contains(events, "Delete the pod")
		})
	}
	s.run("third", 1234)
	if gid := s.look("third", "stat", "-c", "%u:%g"); gid != "4242:1234" {
		t.Errorf("the file of the third pod belongs to %s", gid)
	}
}
