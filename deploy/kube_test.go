//go:build kube && lab

package deploy_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/labtest"
)

// claim returns the manifest of a claim for a gibibyte.
func claim(name, class, access string) string {
	return fmt.Sprintf(`
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s}
spec:
  storageClassName: %s
  accessModes: [%s]
  resources: {requests: {storage: 1Gi}}
`, name, class, access)
}

// pod returns the manifest of a pod on a worker that keeps its claim mounted at
// /data and runs a script.
func pod(name, worker, claimName, script string) string {
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeSelector: {kubernetes.io/hostname: %s}
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, runAsGroup: 1000}
  containers:
  - name: main
    image: %s
    imagePullPolicy: Never
    command: [sh, -c, %q]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: %s}}]
`, name, worker, busybox, script, claimName)
}

const idle = "trap exit TERM; while :; do sleep 1 & wait; done"

// bound waits until a claim is bound, and returns its PersistentVolume's name.
func (c cluster) bound(t *testing.T, name string) string {
	t.Helper()
	c.kubectl(t, "wait", "--for=jsonpath={.status.phase}=Bound", "pvc/"+name, "--timeout=3m")
	return c.kubectl(t, "get", "pvc", name, "-o", "jsonpath={.spec.volumeName}")
}

// gone deletes pods and claims, and waits until nothing of them is left anywhere.
func (c cluster) gone(t *testing.T, pods, claims []string) {
	t.Helper()
	for kind, names := range map[string][]string{"pod": pods, "pvc": claims} {
		if len(names) > 0 {
			c.kubectl(t, append([]string{"delete", kind, "--ignore-not-found", "--wait=false"}, names...)...)
		}
	}
	for _, name := range pods {
		c.kubectl(t, "wait", "--for=delete", "pod/"+name, "--timeout=2m")
	}
	labtest.Eventually(t, 5*time.Minute, func(ctx context.Context) error {
		out, err := c.Kubectl(ctx, "get", "pvc,pv", "-o", "name")
		if err == nil && strings.TrimSpace(string(out)) != "" {
			err = fmt.Errorf("still there: %s", out)
		}
		return err
	})
	labtest.CheckEmpty(t)
}

func (c cluster) workers(t *testing.T) (first, second string) {
	t.Helper()
	w := c.Workers()
	if len(w) < 2 {
		t.Fatalf("the lab has %d workers, want 2", len(w))
	}
	return w[0].Name, w[1].Name
}

// The main job, for each kind of class: a claim is bound, two pods on two workers
// write and read each other's files, the volume grows under them, and all goes.
func TestClaimsOfEveryClass(t *testing.T) {
	c := newCluster(t)
	w1, w2 := c.workers(t)
	for _, class := range []string{"plain", "in-tree", "plain-first", "lvm"} {
		t.Run(class, func(t *testing.T) {
			if testing.Short() && class != "plain" && class != "in-tree" {
				t.Skip("it takes minutes; make test-k8s-long runs it")
			}
			began := time.Now()
			t.Cleanup(func() { c.gone(t, []string{"a-" + class, "b-" + class}, []string{class}) })
			step := func(what string) { t.Logf("%5.1f s: %s", time.Since(began).Seconds(), what) }
			a, b := "a-"+class, "b-"+class
			t.Cleanup(func() {
				if t.Failed() {
					c.explain(t)
				}
			})
			c.apply(t, claim(class, class, "ReadWriteMany")+pod(a, w1, class, idle)+pod(b, w2, class, idle))
			pv := c.bound(t, class)
			step("bound to " + pv)
			c.kubectl(t, "wait", "--for=condition=Ready", "pod/"+a, "pod/"+b, "--timeout=2m")
			step("both pods run")

			c.kubectl(t, "exec", a, "--", "sh", "-c", "echo from-a > /data/a")
			c.kubectl(t, "exec", b, "--", "sh", "-c", "echo from-b > /data/b")
			got := c.kubectl(t, "exec", b, "--", "cat", "/data/a") + " " + c.kubectl(t, "exec", a, "--", "cat", "/data/b")
			if got != "from-a from-b" {
				t.Errorf("the pods read %q of each other", got)
			}
			before := c.size(t, a)
			c.kubectl(t, "patch", "pvc", class, "-p", `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`)
			c.kubectl(t, "wait", "--for=jsonpath={.status.capacity.storage}=2Gi", "pvc/"+class, "--timeout=3m")
			step("grown")
			labtest.Eventually(t, time.Minute, func(context.Context) error {
				if after := c.size(t, a); after < before*18/10 {
					return fmt.Errorf("df shows %d bytes before and %d after", before, after)
				}
				return nil
			})
			if secret := c.kubectl(t, "get", "pv", pv, "-o", "json"); strings.Contains(secret, "heketi-secret") || strings.Contains(secret, "restuser") {
				t.Errorf("the PersistentVolume carries the login of its class: %s", secret)
			}
			c.gone(t, []string{a, b}, []string{class})
			step("nothing is left")
		})
	}
}

// size is what df shows in a pod, in bytes.
func (c cluster) size(t *testing.T, podName string) int64 {
	t.Helper()
	fields := strings.Fields(c.kubectl(t, "exec", podName, "--", "sh", "-c", "df -P -k /data | tail -n 1"))
	if len(fields) < 2 {
		t.Fatalf("df says %q", fields)
	}
	n, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// writer appends a line and syncs it, again and again, and keeps what failed.
const writer = `trap exit TERM; i=0; while :; do i=$((i+1)); { echo $i >> /data/lines && sync /data/lines; } || echo "line $i failed" >> /tmp/failed; done`

// A node pod that is replaced while a pod writes is not noticed by the writer.
func TestNodePodRestartsUnderLoad(t *testing.T) {
	c := newCluster(t)
	w1, _ := c.workers(t)
	c.apply(t, claim("load", "plain", "ReadWriteOnce")+pod("writer", w1, "load", writer))
	c.bound(t, "load")
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/writer", "--timeout=2m")
	lines := func() int {
		n, err := strconv.Atoi(c.kubectl(t, "exec", "writer", "--", "sh", "-c", "wc -l < /data/lines"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	more := func(than int) {
		t.Helper()
		labtest.Eventually(t, time.Minute, func(context.Context) error {
			if n := lines(); n < than+20 {
				return fmt.Errorf("%d lines, %d before", n, than)
			}
			return nil
		})
	}
	more(0)
	before := lines()
	c.kubectl(t, "-n", namespace, "delete", "pod", "-l", "app.kubernetes.io/component=node", "--timeout=2m")
	more(before)
	c.kubectl(t, "-n", namespace, "rollout", "status", "daemonset/"+namespace+"-node", "--timeout=2m")
	more(lines())
	if failed := c.kubectl(t, "exec", "writer", "--", "sh", "-c", "cat /tmp/failed 2>/dev/null || true"); failed != "" {
		t.Errorf("the writer saw errors: %s", failed)
	}
	t.Logf("%d lines were written", lines())
	c.gone(t, []string{"writer"}, []string{"load"})
}

// What a claim cannot have is refused with an event that says why.
func TestRefusedClaimsSayWhy(t *testing.T) {
	c := newCluster(t)
	c.apply(t, `
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: block}
spec:
  storageClassName: plain
  volumeMode: Block
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: too-large}
spec:
  storageClassName: plain
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 900Gi}}
`)
	for name, want := range map[string]string{"block": "a Gluster volume is a file system", "too-large": "room"} {
		labtest.Eventually(t, time.Minute, func(ctx context.Context) error {
			out, err := c.Kubectl(ctx, "get", "events", "--field-selector", "involvedObject.name="+name, "-o", "jsonpath={.items[*].message}")
			if err == nil && !strings.Contains(string(out), want) {
				err = fmt.Errorf("the events of claim %s say %q, want %q", name, out, want)
			}
			return err
		})
	}
	c.gone(t, nil, []string{"block", "too-large"})
}
