//go:build kube && lab

package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/volume"
)

const (
	// ledFor is how long a controller leads before it is killed: about the time of
	// two volumes.
	ledFor = 6 * time.Second
	// stillFor is how long the API server stands still.
	stillFor = 20 * time.Second
)

// killer kills the controller that leads, again and again, as kill -9 does.
type killer struct {
	cluster
	stop context.CancelFunc
	done sync.WaitGroup

	kills  atomic.Int32
	faults []error // read after done
}

// startKiller starts to kill; end stops it.
func (c cluster) startKiller(t *testing.T) *killer {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	k := &killer{cluster: c, stop: cancel}
	k.done.Go(func() { k.run(ctx) })
	t.Cleanup(func() { k.end(t) })
	return k
}

func (k *killer) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pod, since, err := k.leader(ctx)
		if err != nil || pod == "" || time.Since(since) < ledFor {
			continue // nobody leads, or the API server stands still
		}
		if err := k.kill(ctx, pod); err != nil && ctx.Err() == nil {
			k.faults = append(k.faults, err)
		}
	}
}

// leader returns the pod that leads, and since when.
func (c cluster) leader(ctx context.Context) (pod string, since time.Time, err error) {
	var lease struct {
		Spec struct {
			HolderIdentity string
			AcquireTime    time.Time
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	out, err := c.Kubectl(ctx, "-n", namespace, "get", "lease", "bricklayer.csi", "-o", "json")
	if err != nil {
		return "", since, err
	}
	if err := json.Unmarshal(out, &lease); err != nil {
		return "", since, err
	}
	pod, _, _ = strings.Cut(lease.Spec.HolderIdentity, "_")
	return pod, lease.Spec.AcquireTime, nil
}

// kill kills a controller's process, and takes its pod away: of one that it only
// restarts, kubelet waits longer each time, up to minutes.
func (k *killer) kill(ctx context.Context, pod string) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	out, err := k.Kubectl(ctx, "-n", namespace, "get", "pod", pod, "--ignore-not-found", "-o", "jsonpath={.spec.nodeName} {.metadata.uid}")
	if err != nil || len(out) == 0 {
		return nil // killed before: its lease has not run out yet, or the API server stands still
	}
	worker, uid, _ := strings.Cut(string(out), " ")
	const inPod = `for p in $(pgrep -x bricklayer); do
  if grep -q "$0" /proc/$p/cgroup && tr '\0' ' ' </proc/$p/cmdline | grep -q 'bricklayer controller '; then kill -9 $p && echo killed; fi; done`
	said, err := k.InWorker(ctx, worker, "sh", "-c", inPod, uid)
	if err != nil {
		return fmt.Errorf("kill controller %s on %s: %w", pod, worker, err)
	}
	if strings.TrimSpace(string(said)) != "killed" {
		return fmt.Errorf("kill controller %s on %s: killed %d processes, want one", pod, worker, strings.Count(string(said), "killed"))
	}
	k.kills.Add(1)
	_, err = k.Kubectl(ctx, "-n", namespace, "delete", "pod", pod, "--ignore-not-found", "--grace-period=0", "--force")
	if err != nil {
		return nil // kubelet restarts it then
	}
	return nil
}

// end stops killing.
func (k *killer) end(t *testing.T) {
	t.Helper()
	k.stop()
	k.done.Wait()
	if err := errors.Join(k.faults...); err != nil {
		t.Error(err)
	}
	k.faults = nil
}

// lines counts what a writer has written.
func (c cluster) lines(t *testing.T, pod string) int {
	t.Helper()
	n, err := strconv.Atoi(c.kubectl(t, "exec", pod, "--", "sh", "-c", "wc -l < /data/lines"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// writesOn waits until a writer has written more, and fails the test where it saw
// an error.
func (c cluster) writesOn(t *testing.T, pod string) {
	t.Helper()
	before := c.lines(t, pod)
	labtest.Eventually(t, 3*time.Minute, func(context.Context) error {
		if n := c.lines(t, pod); n < before+20 {
			return fmt.Errorf("pod %s has written %d lines, %d before", pod, n, before)
		}
		return nil
	})
	if failed := c.kubectl(t, "exec", pod, "--", "sh", "-c", "cat /tmp/failed 2>/dev/null || true"); failed != "" {
		t.Errorf("pod %s saw errors: %s", pod, failed)
	}
}

// The controllers are killed while claims are made and deleted, and the API server
// stands still in the middle. Each claim that stays gets its one volume; those that
// go leave nothing.
func TestControllersAreKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	c := newCluster(t)
	const n = 50
	k := c.startKiller(t)
	began := time.Now()
	c.apply(t, smallClaims("kill-", "plain", n))
	wait(t, 2*ledFor)
	half := []string{"delete", "pvc", "--wait=false"}
	for i := 0; i < n; i += 2 {
		half = append(half, fmt.Sprintf("kill-%d", i))
	}
	c.kubectl(t, half...)
	c.standStill(t)
	c.allBound(t, n/2)
	t.Logf("%d of %d claims are bound, the others gone, after %.0f s and %d kills", n/2, n, time.Since(began).Seconds(), k.kills.Load())
	c.oneVolumeEach(t)
	c.deleteAll(t)
	k.end(t)
	t.Logf("all is gone after %.0f s and %d kills", time.Since(began).Seconds(), k.kills.Load())
	c.kubectl(t, "-n", namespace, "rollout", "status", "deployment/"+namespace+"-controller", "--timeout=6m")
}

// standStill stops the API server for a while.
func (c cluster) standStill(t *testing.T) {
	t.Helper()
	if err := c.PauseAPI(); err != nil {
		t.Fatal(err)
	}
	wait(t, stillFor)
	if err := c.ResumeAPI(); err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// The storage node that clients ask first for a volume's description is cut off: a
// pod that runs writes on, a new pod mounts, and claims made meanwhile are bound
// once it is back.
func TestVolfileServerIsOff(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	c := newCluster(t)
	w1, w2 := c.workers(t)
	c.apply(t, claim("steady", "plain", "ReadWriteMany")+pod("writer", w1, "steady", writer))
	pv := c.bound(t, "steady")
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/writer", "--timeout=2m")
	servers := c.kubectl(t, "get", "pv", pv, "-o", "jsonpath={.spec.csi.volumeAttributes."+volume.ContextServers+"}")
	first, _, _ := strings.Cut(servers, ",")
	node := ""
	for _, n := range c.Nodes() {
		if n.Address.String() == first || n.Name == first {
			node = n.Name
		}
	}
	c.writesOn(t, "writer")
	began := time.Now()
	if err := c.PowerOff(t.Context(), node); err != nil {
		t.Fatalf("the servers of the volume are %s: %v", servers, err)
	}
	back := sync.OnceValue(func() error { return c.Start(context.WithoutCancel(t.Context()), node) })
	t.Cleanup(func() { _ = back() })
	c.apply(t, pod("late", w2, "steady", idle)+smallClaims("meanwhile-", "plain", 3))
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/late", "--timeout=3m")
	t.Logf("a new pod has mounted %.1f s after %s was cut off", time.Since(began).Seconds(), node)
	c.writesOn(t, "writer")
	t.Logf("the running pod has written on, %.1f s after", time.Since(began).Seconds())
	if err := back(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s is back after %.1f s", node, time.Since(began).Seconds())
	c.allBound(t, 4)
	t.Logf("the claims made meanwhile are bound after %.1f s", time.Since(began).Seconds())
	c.oneVolumeEach(t)
	c.writesOn(t, "writer")
	c.kubectl(t, "delete", "pod", "writer", "late", "--timeout=2m")
	c.deleteAll(t)
}
