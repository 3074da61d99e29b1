//go:build kube && lab

package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/volume"
)

// Times within which a storm passes; they are far off, and no promise.
const (
	stormTime = 40 * time.Minute
	askTime   = 10 * time.Second
)

// smallClaims returns the manifest of n claims, of sizes that differ.
func smallClaims(prefix, class string, n int) string {
	var b strings.Builder
	for i := range n {
		size := fmt.Sprintf("%dMi", 48+16*(i%3))
		b.WriteString(strings.Replace(claim(fmt.Sprintf("%s%d", prefix, i), class, "ReadWriteMany"), "1Gi", size, 1))
	}
	return b.String()
}

// claims and volumes read what the API has. They answer soon or not at all: in some
// tests it stands still for a while.
func (c cluster) claims(ctx context.Context) ([]corev1.PersistentVolumeClaim, error) {
	var list corev1.PersistentVolumeClaimList
	err := c.read(ctx, &list, "pvc", "-A")
	return list.Items, err
}

func (c cluster) volumes(ctx context.Context) ([]corev1.PersistentVolume, error) {
	var list corev1.PersistentVolumeList
	err := c.read(ctx, &list, "pv")
	return list.Items, err
}

func (c cluster) read(ctx context.Context, into any, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	out, err := c.Kubectl(ctx, append([]string{"get", "-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal(out, into)
}

// allBound waits until there are so many claims and all are bound.
func (c cluster) allBound(t *testing.T, n int) {
	t.Helper()
	began, told := time.Now(), time.Now()
	labtest.Eventually(t, stormTime, func(ctx context.Context) error {
		claims, err := c.claims(ctx)
		if err != nil {
			return err
		}
		bound := 0
		for _, cl := range claims {
			if cl.Status.Phase == corev1.ClaimBound {
				bound++
			}
		}
		if bound == n && len(claims) == n {
			return nil
		}
		if time.Since(told) > 15*time.Second {
			told = time.Now()
			t.Logf("%4.0f s: %d of %d claims are bound", time.Since(began).Seconds(), bound, len(claims))
		}
		return fmt.Errorf("%d of %d claims are bound, want %d", bound, len(claims), n)
	})
}

// oneVolumeEach fails the test unless claims, PersistentVolumes and Gluster's volumes
// are one to one.
func (c cluster) oneVolumeEach(t *testing.T) {
	t.Helper()
	claims, err := c.claims(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pvs, err := c.volumes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wanted, stand, have []string // by claim, by PersistentVolume, in Gluster
	byName := map[string]corev1.PersistentVolume{}
	for _, pv := range pvs {
		h, err := volume.ParseHandle(pv.Spec.CSI.VolumeHandle)
		if err != nil {
			t.Errorf("PersistentVolume %s: %v", pv.Name, err)
		}
		stand = append(stand, h.Name)
		byName[pv.Name] = pv
	}
	for _, cl := range claims {
		pv := byName[cl.Spec.VolumeName]
		if pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != cl.UID {
			t.Errorf("claim %s is bound to PersistentVolume %q, which is not bound to it", cl.Name, cl.Spec.VolumeName)
			continue
		}
		wanted = append(wanted, pv.Spec.CSI.VolumeAttributes[volume.ContextVolume])
	}
	out, err := c.Exec(t.Context(), c.Nodes()[0].Name, "gluster", "volume", "list")
	if err != nil {
		t.Fatal(err)
	}
	have = strings.Fields(string(out))
	for _, list := range [][]string{wanted, stand, have} {
		slices.Sort(list)
	}
	if diff := cmp.Diff(wanted, stand); diff != "" {
		t.Errorf("volumes of claims (-) and of PersistentVolumes (+):\n%s", diff)
	}
	if diff := cmp.Diff(wanted, have); diff != "" {
		t.Errorf("volumes of claims (-) and in Gluster (+):\n%s", diff)
	}
}

// deleteAll deletes all claims, waits until nothing of them is left anywhere, and
// says how long it took.
func (c cluster) deleteAll(t *testing.T) {
	t.Helper()
	c.kubectl(t, "delete", "pvc", "--all", "--wait=false")
	labtest.Eventually(t, stormTime, func(ctx context.Context) error {
		claims, err := c.claims(ctx)
		if err != nil {
			return err
		}
		pvs, err := c.volumes(ctx)
		if err == nil && len(claims)+len(pvs) > 0 {
			err = fmt.Errorf("%d claims and %d PersistentVolumes are still there", len(claims), len(pvs))
		}
		return err
	})
	c.gone(t, nil, nil)
}

// logMemory logs what our processes hold on the workers, at present and at most,
// and what is left on the storage nodes.
func (c cluster) logMemory(t *testing.T, when string) {
	t.Helper()
	const ours = `for p in $(pgrep -x bricklayer); do
  echo $(tr '\0' ' ' </proc/$p/cmdline | cut -d' ' -f2) $(awk '/VmRSS|VmHWM/ {printf "%s %d MiB ", $1, $2/1024}' /proc/$p/status); done`
	for _, w := range c.Workers() {
		out, err := c.InWorker(t.Context(), w.Name, "sh", "-c", ours)
		t.Logf("%s, on %s: %v\n%s", when, w.Name, err, out)
	}
	const nodes = `awk '/MemTotal|MemAvailable/ {printf "%s %d MiB ", $1, $2/1024}' /proc/meminfo; echo $(pgrep -xc glusterfsd) brick processes`
	for _, n := range c.Nodes() {
		out, err := c.Exec(t.Context(), n.Name, "sh", "-c", nodes)
		t.Logf("%s, on %s: %v %s", when, n.Name, err, out)
	}
}

// A storm of claims: all are bound, each to one volume; then all go, and nothing is
// left.
func TestManyClaimsAtOnce(t *testing.T) {
	c := newCluster(t)
	n := 200
	if testing.Short() {
		n = 8
	} else {
		// As docs/decisions/0006 has it for pools of hundreds of volumes: the lab's
		// nodes have no memory for a process a brick.
		c.multiplex(t)
	}
	c.logMemory(t, "before")
	began := time.Now()
	c.apply(t, smallClaims("many-", "plain", n))
	t.Logf("%d claims were made in %.1f s", n, time.Since(began).Seconds())
	c.allBound(t, n)
	t.Logf("%d claims are bound %.1f s after the first was made", n, time.Since(began).Seconds())
	c.oneVolumeEach(t)
	c.logMemory(t, "all bound")
	began = time.Now()
	c.deleteAll(t)
	t.Logf("%d claims and all that was theirs are gone after %.1f s", n, time.Since(began).Seconds())
	c.logMemory(t, "all gone")
}

// multiplex has one process for all bricks of a node until the test ends.
func (c cluster) multiplex(t *testing.T) {
	t.Helper()
	set := func(ctx context.Context, value string) {
		if out, err := c.Exec(ctx, c.Nodes()[0].Name, "gluster", "--mode=script", "volume", "set", "all", "cluster.brick-multiplex", value); err != nil {
			t.Errorf("set cluster.brick-multiplex %s: %v\n%s", value, err, out)
		}
	}
	set(t.Context(), "on")
	t.Cleanup(func() { set(context.WithoutCancel(t.Context()), "off") })
}
