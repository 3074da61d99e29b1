//go:build kube

package lab

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const kubeLab = "kube-test"

// One small storage node: what is tested here is the cluster.
func kubeConfig(t *testing.T) Config {
	t.Helper()
	c, err := ParseConfig([]byte("kubernetes: true\nnodes: 1\nmemoryMiB: 700\ndisks: [{name: root1, sizeGiB: 2, use: brickRoot}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.Name = kubeLab
	return c
}

func kubeUp(t *testing.T) *Lab {
	t.Helper()
	var told bytes.Buffer
	l, err := Up(t.Context(), kubeConfig(t), &told)
	if err != nil {
		t.Fatalf("up: %v\n%s", err, told.String())
	}
	t.Logf("up:\n%s", told.String())
	return l
}

func kubeDown(t *testing.T) {
	t.Helper()
	var told bytes.Buffer
	if err := Down(context.WithoutCancel(t.Context()), kubeLab, &told); err != nil {
		t.Fatalf("down: %v\n%s", err, told.String())
	}
}

func kubectl(t *testing.T, l *Lab, args ...string) string {
	t.Helper()
	out, err := l.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// kubeProcesses are the numbers of every process of the cluster, by its name.
func kubeProcesses(t *testing.T, l *Lab) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, args := range l.kubePrograms() {
		rec, err := loadPIDRecord(l.paths.kubePID(args[0]))
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := rec.leader(); ok {
			found[args[0]] = p.pid
		}
	}
	for _, w := range l.Workers() {
		rec, err := loadPIDRecord(l.paths.workerPID(w.Name))
		if err != nil {
			t.Fatal(err)
		}
		found[w.Name] = rec.PID
		for _, program := range []string{"containerd", "kubelet"} {
			list, err := l.onWorker(w.Name, program)
			if err != nil || len(list) != 1 {
				t.Fatalf("%s runs %d %s: %v", w.Name, len(list), program, err)
			}
			found[w.Name+" "+program] = list[0].pid
		}
	}
	return found
}

func podOn(worker string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: on-%[1]s}
spec:
  nodeName: %[1]s
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: %[2]q, command: [sh, -c, "echo I am on $NODE; exec sleep 100000"], env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]}
`, worker, busyboxImage)
}

// The whole life of a cluster, in this order: it takes half a minute to come up.
func TestKubernetes(t *testing.T) {
	t.Cleanup(func() { kubeDown(t) })
	kubeDown(t)
	var l *Lab
	t.Run("up", func(t *testing.T) { l = kubeUp(t) })
	if l == nil {
		t.FailNow()
	}
	t.Run("pods run", func(t *testing.T) {
		for _, w := range l.Workers() {
			if _, err := l.KubectlInput(t.Context(), podOn(w.Name), "apply", "-f", "-"); err != nil {
				t.Fatal(err)
			}
		}
		awaitPods(t, l)
		for _, w := range l.Workers() {
			if got, want := kubectl(t, l, "logs", "on-"+w.Name), "I am on "+w.Name+"\n"; got != want {
				t.Errorf("log of the pod on %s: %q, want %q", w.Name, got, want)
			}
		}
		address := kubectl(t, l, "get", "pod", "on-w2", "-o", "jsonpath={.status.podIP}")
		kubectl(t, l, "exec", "on-w1", "--", "ping", "-c1", "-W2", address)
		kubectl(t, l, "exec", "on-w1", "--", "nc", "-w2", kubeServiceIP.String(), "443", "-e", "true")
	})
	t.Run("up changes nothing", func(t *testing.T) {
		before, start := kubeProcesses(t, l), time.Now()
		kubeUp(t)
		t.Logf("took %v", time.Since(start))
		if d := cmp.Diff(before, kubeProcesses(t, l)); d != "" {
			t.Errorf("processes (-before +after):\n%s", d)
		}
	})
	t.Run("up repairs", func(t *testing.T) { repairs(t, l) })
	t.Run("an image", func(t *testing.T) { loadsImage(t, l) })
	t.Run("a worker's mounts", func(t *testing.T) { seesMounts(t, l) })
	t.Run("a Gluster volume on both workers", func(t *testing.T) { mountsVolume(t, l) })
	t.Run("down", func(t *testing.T) { leavesNothing(t, l) })
}

func awaitPods(t *testing.T, l *Lab) {
	t.Helper()
	kubectl(t, l, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
}

func repairs(t *testing.T, l *Lab) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	killed := func(names ...string) func(context.Context) error {
		return func(ctx context.Context) error { return l.KillControl(ctx, names...) }
	}
	for _, tt := range []struct {
		name  string
		harm  func(context.Context) error
		anew  []string // processes that are others afterwards
		again bool     // whether the pod of w1 starts again
	}{
		{"etcd killed", killed(kubeEtcd), []string{kubeEtcd}, false},
		{"API server killed", killed(kubeAPI), []string{kubeAPI}, false},
		{"all of the control plane killed", killed(), []string{kubeEtcd, kubeAPI, kubeManager, kubeScheduler}, false},
		{"API server paused", func(context.Context) error { return l.PauseAPI() }, nil, false},
		{"kubelet killed", func(ctx context.Context) error { return l.KillKubelet(ctx, "w1") }, []string{"w1 kubelet"}, false},
		{"containerd killed", func(ctx context.Context) error { return l.KillContainerd(ctx, "w1") }, []string{"w1 containerd"}, false},
		{"worker killed", func(ctx context.Context) error { return l.KillWorker(ctx, "w1") }, []string{"w1", "w1 kubelet", "w1 containerd"}, true},
		{"worker's link taken away", func(ctx context.Context) error {
			_, err := l.Host(ctx, "ip", "link", "delete", workerLink("w1"))
			return err
		}, nil, false},
		{"name of a worker's namespace lost", func(context.Context) error {
			return unix.Unmount(l.paths.workerNetns("w1"), unix.MNT_DETACH)
		}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, starts := kubeProcesses(t, l), podStarts(t, l)
			if err := tt.harm(t.Context()); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			kubeUp(t)
			t.Logf("repaired in %v", time.Since(start).Round(time.Millisecond))
			after := kubeProcesses(t, l)
			for _, name := range slices.Sorted(maps.Keys(before)) {
				if anew := before[name] != after[name]; anew != slices.Contains(tt.anew, name) {
					t.Errorf("%s was restarted: %v", name, anew)
				}
			}
			awaitPods(t, l)
			if got := podAnswers(t, l); got != "" {
				t.Error(got)
			}
			if now := podStarts(t, l); tt.again == (now == starts) {
				t.Errorf("the pod of w1 was started again %s times, before it %s", now, starts)
			}
		})
	}
}

func podStarts(t *testing.T, l *Lab) string {
	t.Helper()
	return kubectl(t, l, "get", "pod", "on-w1", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
}

// podAnswers runs a command in each pod. A worker that was just killed may be
// called Ready, and its pod too, before its new kubelet has looked at it.
func podAnswers(t *testing.T, l *Lab) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, w := range l.Workers() {
		var last error
		if err := until(ctx, 200*time.Millisecond, func() (bool, error) {
			_, last = l.Kubectl(ctx, "exec", "on-"+w.Name, "--", "true")
			return last == nil, nil
		}); err != nil {
			return fmt.Sprintf("the pod on %s does not answer: %v", w.Name, last)
		}
	}
	return ""
}

func loadsImage(t *testing.T, l *Lab) {
	file := filepath.Join(t.TempDir(), "image.tar")
	err := MakeImage(file, Image{
		Names: []string{"bricklayer.lab/test:1"}, Entrypoint: []string{"/opt/bin/busybox"}, Cmd: []string{"echo", "from the image"},
		Files: []ImageFile{{Path: "/opt/bin/busybox", Source: busyboxProgram, Mode: 0o755}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.LoadImage(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	kubectl(t, l, "run", "image", "--image=bricklayer.lab/test:1", "--restart=Never")
	kubectl(t, l, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/image", "--timeout=30s")
	if got := kubectl(t, l, "logs", "image"); got != "from the image\n" {
		t.Errorf("it says %q", got)
	}
	kubectl(t, l, "delete", "pod", "image", "--wait=true")
}

// What a command mounts on a worker is seen there by all, on the host below
// WorkerPath only, and by no other worker.
func seesMounts(t *testing.T, l *Lab) {
	ctx := t.Context()
	dir := filepath.Join(l.Workers()[0].KubeletDir, "x")
	if _, err := l.InWorker(ctx, "w1", "sh", "-c", "mkdir -p $0 && mount -t tmpfs x $0 && echo seen >$0/f", dir); err != nil {
		t.Fatal(err)
	}
	path, err := l.WorkerPath("w1", filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "seen\n" {
		t.Errorf("%s has %q: %v", path, data, err)
	}
	if out, err := l.InWorker(ctx, "w1", "cat", filepath.Join(dir, "f")); err != nil || string(out) != "seen\n" {
		t.Errorf("on w1 the file has %q: %v", out, err)
	}
	if _, err := l.InWorker(ctx, "w2", "test", "-e", dir); err == nil {
		t.Error("w2 sees what w1 mounted")
	}
	ms, err := mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		if strings.Contains(m.Mountpoint, "kubelet") || below(m.Mountpoint, l.paths.state()) {
			t.Errorf("the host has %s mounted", m.Mountpoint)
		}
	}
	if out, err := l.InWorker(ctx, "w1", "hostname"); err != nil || string(out) != "w1\n" {
		t.Errorf("host name %q: %v", out, err)
	}
}

// mountsVolume leaves the volume mounted: down has to end its clients.
func mountsVolume(t *testing.T, l *Lab) {
	ctx := t.Context()
	for _, argv := range [][]string{
		{"mkdir", "-p", "/bricks/root1/v"},
		{"gluster", "--mode=script", "volume", "create", "v", l.nodes[0].Address.String() + ":/bricks/root1/v/brick"},
		{"gluster", "--mode=script", "volume", "start", "v"},
	} {
		if _, err := l.Exec(ctx, "n1", argv...); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range l.Workers() {
		const script = `mkdir -p /var/lib/kubelet/v && mount -t glusterfs "$0:/v" /var/lib/kubelet/v`
		if _, err := l.InWorker(ctx, w.Name, "sh", "-c", script, l.nodes[0].Address.String()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.InWorker(ctx, "w1", "sh", "-c", "echo shared >/var/lib/kubelet/v/f"); err != nil {
		t.Fatal(err)
	}
	if out, err := l.InWorker(ctx, "w2", "cat", "/var/lib/kubelet/v/f"); err != nil || string(out) != "shared\n" {
		t.Errorf("w2 reads %q of what w1 wrote: %v", out, err)
	}
}

func leavesNothing(t *testing.T, l *Lab) {
	var namespaces []string
	for _, w := range l.Workers() {
		rec, err := l.workerRecord(w.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"pid", "mnt", "uts", "net"} {
			ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", rec.PID, kind))
			if err != nil {
				t.Fatal(err)
			}
			namespaces = append(namespaces, ns)
		}
	}
	ino, start := l.netns, time.Now()
	kubeDown(t)
	t.Logf("down in %v", time.Since(start).Round(time.Millisecond))
	left := leftBehind(t, kubeLab, ino)
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if !p.alive() {
			continue
		}
		for _, kind := range []string{"pid", "mnt", "uts", "net"} {
			ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.pid, kind))
			if err == nil && slices.Contains(namespaces, ns) {
				left = append(left, "process "+p.name+" in a namespace of a worker")
			}
		}
	}
	if d := cmp.Diff([]string(nil), left); d != "" {
		t.Errorf("left over:\n%s", d)
	}
}

// leftBehind lists what can be seen on this host of a lab with a cluster.
func leftBehind(t *testing.T, name string, ino uint64) []string {
	t.Helper()
	p := paths{name}
	var list []string
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range all {
		if q.alive() && (ino != 0 && netnsOf(q.pid) == ino || strings.Contains(strings.Join(cmdline(q.pid), " "), p.state()+"/")) {
			list = append(list, "process "+q.name)
		}
	}
	ms, err := mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		if below(m.Mountpoint, p.state()) || m.Mountpoint == p.netns() || strings.HasPrefix(m.Mountpoint, p.workerNetns("")) {
			list = append(list, "mount "+m.Mountpoint)
		}
	}
	v1, v2 := cgroupHierarchies()
	for _, root := range append(v1, v2...) {
		if dir := filepath.Join(root, p.labCgroup()); exists(dir) {
			list = append(list, "control group "+dir)
		}
	}
	for _, path := range append(p.workerNamespaces(), p.state(), p.netns(), p.lock()) {
		if exists(path) {
			list = append(list, "file "+path)
		}
	}
	for file, want := range hostTunables {
		if got := readTunable(file); got != want {
			list = append(list, fmt.Sprintf("%s is %s and was %s", file, got, want))
		}
	}
	return list
}

// hostTunables are settings of the kernel that kubelet likes to change.
var hostTunables = func() map[string]string {
	m := map[string]string{}
	for _, name := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"} {
		m["/proc/sys/"+name] = readTunable("/proc/sys/" + name)
	}
	return m
}()

func readTunable(file string) string {
	data, _ := os.ReadFile(file)
	return strings.TrimSpace(string(data))
}

// A lab that was killed while its workers came up, and one whose records are lost.
func TestDownOfHalfACluster(t *testing.T) {
	t.Cleanup(func() { kubeDown(t) })
	kubeDown(t)
	l := newLab(kubeConfig(t), newProgress(nil))
	if err := os.MkdirAll(l.paths.state(), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := ensureKubePrograms(t.Context(), newProgress(os.Stderr))
	if err != nil {
		t.Fatal(err)
	}
	w := l.Workers()[0]
	if err := l.ensureWorkerNetns(w); err != nil {
		t.Fatal(err)
	}
	if err := l.ensureMachine(t.Context(), dir, w); err != nil {
		t.Fatal(err)
	}
	rec, err := l.workerRecord(w.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(l.paths.workerPID(w.Name)); err != nil {
		t.Fatal(err)
	}
	kubeDown(t)
	if err := syscall.Kill(rec.PID, 0); err == nil {
		if p, err := readProcess(rec.PID); err == nil && p.alive() {
			t.Error("the worker's first process still runs")
		}
	}
	if d := cmp.Diff([]string(nil), leftBehind(t, kubeLab, 0)); d != "" {
		t.Errorf("left over:\n%s", d)
	}
}
