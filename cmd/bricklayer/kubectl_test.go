package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	poolsfake "bricklayer.csi/api/client/versioned/fake"
	"bricklayer.csi/api/v1alpha1"
)

// newPlugin returns the plug-in with a cluster that has these objects.
func newPlugin(t *testing.T, pools []runtime.Object, objects ...runtime.Object) *command {
	t.Helper()
	c := newCommand(t)
	c.program = kubectlPlugin
	c.kubernetes, c.storagePools = fake.NewClientset(objects...), poolsfake.NewClientset(pools...)
	return c
}

func statusPool(name string, ready, degraded metav1.ConditionStatus, volumes ...string) *v1alpha1.StoragePool {
	p := &v1alpha1.StoragePool{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Now().Add(-3 * time.Hour))}}
	p.Spec.Nodes = []v1alpha1.StorageNode{{Name: "n1"}, {Name: "n2"}}
	p.Status = v1alpha1.StoragePoolStatus{
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: ready, Message: "volumes can be made, or not"},
			{Type: v1alpha1.ConditionDegraded, Status: degraded, Message: "node n2 does not answer"},
		},
		Capacity: &v1alpha1.Capacity{Raw: resource.MustParse("60Gi"), Committed: resource.MustParse("3Gi"), Free: resource.MustParse("57Gi")},
		Volumes:  &v1alpha1.VolumeCounts{Plain: int32(len(volumes)), Names: volumes},
		Nodes:    []v1alpha1.NodeStatus{{Name: "n1", Reachable: true}, {Name: "n2"}},
	}
	return p
}

func persistentVolume(name, handle, driver, claim string) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}
	pv.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}
	pv.Status.Phase = corev1.VolumeBound
	if claim != "" {
		pv.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "shop", Name: claim}
	}
	return pv
}

// squeezed returns what was written with one bar between the words of a line.
func squeezed(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		b.WriteString(strings.Join(strings.Fields(line), "|") + "\n")
	}
	return b.String()
}

func TestKubectlPools(t *testing.T) {
	fresh := &v1alpha1.StoragePool{ObjectMeta: metav1.ObjectMeta{Name: "fresh", CreationTimestamp: metav1.NewTime(time.Now().Add(-3 * time.Hour))}}
	c := newPlugin(t, []runtime.Object{statusPool("fast", metav1.ConditionTrue, metav1.ConditionTrue, "a"), statusPool("slow", metav1.ConditionTrue, metav1.ConditionFalse), fresh})
	want := `POOL|READY|DEGRADED|NODES|RAW|COMMITTED|FREE|PLAIN|LVM|AGE
fast|True|True|1/2|60Gi|3Gi|57Gi|1|0|3h
fresh|Unknown|Unknown|0/0|-|-|-|0|0|3h
slow|True|False|1/2|60Gi|3Gi|57Gi|0|0|3h
pool|fast:|node|n2|does|not|answer
`
	if got := squeezed(c.must(t, "pools")); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	var views []storagePoolView
	if err := json.Unmarshal([]byte(c.must(t, "pools", "-o", "json")), &views); err != nil || len(views) != 3 || views[0].Free != "57Gi" || views[0].Reachable != 1 || views[2].Why != "" {
		t.Errorf("%v: %+v", err, views)
	}
	c = newPlugin(t, []runtime.Object{statusPool("fast", metav1.ConditionFalse, metav1.ConditionTrue)})
	if got := c.must(t, "pools"); !strings.Contains(got, "pool fast: volumes can be made, or not") {
		t.Errorf("not ready: %s", got)
	}
}

func TestKubectlPoolsFailures(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
		says string
	}{
		{apierrors.NewNotFound(v1alpha1.Resource("storagepools"), ""), exitFailed, "poolsFrom: api"},
		{apierrors.NewForbidden(v1alpha1.Resource("storagepools"), "", nil), exitFailed, "that may list them"},
		{apierrors.NewServerTimeout(v1alpha1.Resource("storagepools"), "list", 1), exitLater, "whether the API server answers"},
	} {
		c := newPlugin(t, nil)
		pools := poolsfake.NewClientset()
		pools.PrependReactor("list", "storagepools", func(k8stesting.Action) (bool, runtime.Object, error) { return true, nil, test.err })
		c.storagePools = pools
		if _, errs, code := c.run("pools"); code != test.code || !strings.Contains(errs, test.says) || !strings.HasPrefix(errs, "kubectl bricklayer pools: list StoragePools") {
			t.Errorf("%v: code %d, %s", test.err, code, errs)
		}
	}
}

func TestKubectlVolumes(t *testing.T) {
	many := statusPool("many", metav1.ConditionTrue, metav1.ConditionFalse, "m1", "m2")
	many.Status.Volumes.Plain = 30 // of which it names two
	many.Status.InUse = map[string]string{"n1/r1": "m3, m4 and 27 more"}
	c := newPlugin(t, []runtime.Object{statusPool("fast", metav1.ConditionTrue, metav1.ConditionFalse, "a"), many},
		persistentVolume("pv-a", "bl1.plain.fast.a", "bricklayer.csi", "db"),
		persistentVolume("pv-b", "bl1.plain.fast.b", "bricklayer.csi", "cache"),
		persistentVolume("pv-l", "bl1.heketi.fast.l", "bricklayer.csi", ""),
		persistentVolume("pv-m1", "bl1.plain.many.m1", "bricklayer.csi", "m1"),
		persistentVolume("pv-m4", "bl1.plain.many.m4", "bricklayer.csi", "m4"),
		persistentVolume("pv-m5", "bl1.plain.many.m5", "bricklayer.csi", "m5"),
		persistentVolume("pv-o", "bl1.plain.old.o", "bricklayer.csi", "o"),
		persistentVolume("pv-x", "what", "bricklayer.csi", "x"),
		persistentVolume("pv-other", "vol-1", "ebs.csi.aws.com", "y"),
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-local"}},
	)
	want := `POOL|KIND|CLAIM|SIZE|PHASE|PERSISTENTVOLUME|COUNTED
-|-|shop/x|5Gi|Bound|pv-x|unknown
fast|lvm|-|5Gi|Bound|pv-l|no
fast|plain|shop/cache|5Gi|Bound|pv-b|no
fast|plain|shop/db|5Gi|Bound|pv-a|yes
many|plain|shop/m1|5Gi|Bound|pv-m1|yes
many|plain|shop/m4|5Gi|Bound|pv-m4|yes
many|plain|shop/m5|5Gi|Bound|pv-m5|unknown
old|plain|shop/o|5Gi|Bound|pv-o|unknown
`
	if got := squeezed(c.must(t, "volumes")); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	var views []claimedView
	if err := json.Unmarshal([]byte(c.must(t, "volumes", "--pool", "fast", "-o", "json")), &views); err != nil || len(views) != 3 || views[2].Handle != "bl1.plain.fast.a" {
		t.Errorf("%v: %+v", err, views)
	}
	if got := squeezed(c.must(t, "volumes", "--driver-name", "ebs.csi.aws.com")); !strings.Contains(got, "pv-other|unknown") {
		t.Errorf("another driver: %s", got)
	}
	// Without StoragePools as objects the volumes are listed all the same.
	pools := poolsfake.NewClientset()
	pools.PrependReactor("list", "storagepools", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(v1alpha1.Resource("storagepools"), "")
	})
	c.storagePools = pools
	if got := squeezed(c.must(t, "volumes", "--pool", "fast")); strings.Count(got, "unknown") != 3 {
		t.Errorf("without StoragePools: %s", got)
	}
}

// It calls itself as it is called, and has no more commands than it should.
func TestKubectlUsage(t *testing.T) {
	c := newPlugin(t, nil)
	out := c.must(t, "--help")
	for _, name := range []string{"pools", "volumes", "orphans", "doctor", "top"} {
		if !strings.Contains(out, "\n  "+name+" ") {
			t.Errorf("help lacks %s: %s", name, out)
		}
		help := c.must(t, name, "--help")
		if !strings.Contains(help, "Usage:\n  kubectl bricklayer "+name) || strings.Contains(help, kubectlPlugin) {
			t.Errorf("help of %s: %s", name, help)
		}
	}
	for _, args := range [][]string{{"controller"}, {"pools", "x"}, {"pools", "-o", "xml"}, {"volumes", "--nonsense"}} {
		if _, errs, code := c.run(args...); code != exitUsage || !strings.HasPrefix(errs, "kubectl bricklayer") {
			t.Errorf("%v: code %d, %s", args, code, errs)
		}
	}
	if _, errs, code := newCommand(t).run("pools"); code != exitUsage {
		t.Errorf("bricklayer pools: code %d, %s", code, errs)
	}
	c.kubernetes, c.storagePools = nil, nil
	if _, errs, code := c.run("pools", "--kubeconfig", t.TempDir()+"/none"); code != exitUsage || !strings.Contains(errs, "cannot reach Kubernetes") {
		t.Errorf("no kubeconfig: code %d, %s", code, errs)
	}
	if out := c.must(t, "top", "--once"); !strings.Contains(out, "n1") {
		t.Error(fmt.Sprint("top: ", out))
	}
}
