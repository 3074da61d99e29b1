package provisioner

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/volume"
)

const capacityNamespace = "storage"

func publishing(o *Options) {
	o.Capacity = CapacityOptions{Namespace: capacityNamespace, Owner: "controller", Period: 20 * time.Millisecond}
}

// first makes a class wait for its first consumer.
func first(c *storagev1.StorageClass) {
	mode := storagev1.VolumeBindingWaitForFirstConsumer
	c.VolumeBindingMode = &mode
}

func zones(names ...string) func(*storagev1.StorageClass) {
	return func(c *storagev1.StorageClass) {
		c.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{
			{Key: "topology.kubernetes.io/zone", Values: names},
		}}}
	}
}

// deployment makes the owner of the published objects.
func (w *world) deployment() *appsv1.Deployment {
	w.t.Helper()
	d, err := w.AppsV1().Deployments(capacityNamespace).Create(w.t.Context(),
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "controller", UID: "uid-1"}}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// capacities returns what is published, by class.
func (w *world) capacities() map[string]storagev1.CSIStorageCapacity {
	list, err := w.StorageV1().CSIStorageCapacities("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return nil
	}
	all := map[string]storagev1.CSIStorageCapacity{}
	for _, o := range list.Items {
		if _, twice := all[o.StorageClassName]; twice {
			w.t.Errorf("class %s has two capacities", o.StorageClassName)
		}
		all[o.StorageClassName] = o
	}
	return all
}

// room returns the published capacity and largest volume of a class, or zero.
func (w *world) room(class string) (available, largest volume.Size) {
	o, there := w.capacities()[class]
	if !there {
		return 0, 0
	}
	return volume.Size(o.Capacity.Value()), volume.Size(o.MaximumVolumeSize.Value())
}

func TestCapacityIsPublished(t *testing.T) {
	w := newWorld(t, class("late", first), class("pinned", first, zones("z2"), func(c *storagev1.StorageClass) {
		c.Parameters["volumetype"] = "none"
	}), class("others", first, func(c *storagev1.StorageClass) { c.Provisioner = "other.csi" }))
	owner := w.deployment()
	w.start(publishing)
	w.eventually("the capacity of both classes is there", func() bool { return len(w.capacities()) == 2 })

	spec, err := w.volumes.Spec("x", volume.SizeRange{}, map[string]string{"lvm": "false"})
	if err != nil {
		t.Fatal(err)
	}
	want, err := w.backend.Capacity(t.Context(), w.backend.Pool, spec.Parameters)
	if err != nil {
		t.Fatal(err)
	}
	if available, largest := w.room("late"); available != want.Available || largest != want.Largest || largest == 0 {
		t.Errorf("published %d and %d bytes, want %+v", available, largest, want)
	}
	if available, _ := w.room("pinned"); available != want.Available {
		t.Errorf("one brick in one of three zones: %d bytes, want %d", available, want.Available)
	}
	o := w.capacities()["late"]
	if diff := cmp.Diff(&metav1.LabelSelector{}, o.NodeTopology); diff != "" {
		t.Errorf("it must hold on every node:\n%s", diff)
	}
	if diff := cmp.Diff([]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "controller", UID: owner.UID}}, o.OwnerReferences); diff != "" {
		t.Errorf("owner:\n%s", diff)
	}
	if o.Namespace != capacityNamespace || o.Labels["csi.storage.k8s.io/drivername"] != testDriver {
		t.Errorf("it is in namespace %q with labels %v", o.Namespace, o.Labels)
	}

	w.claim("data")
	w.bound("data")
	w.eventually("a volume takes from the capacity", func() bool { _, largest := w.room("late"); return largest > 0 && largest < want.Largest })
	w.remove("data")
	w.empty()
	w.eventually("a deleted volume gives it back", func() bool { _, largest := w.room("late"); return largest == want.Largest })

	if err := w.StorageV1().StorageClasses().Delete(t.Context(), "late", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("a class that is gone has no capacity", func() bool { return len(w.capacities()) == 1 })
}

// What a former controller left is taken over, with its new owner, not doubled.
func TestCapacityIsTakenOver(t *testing.T) {
	w := newWorld(t, class("late", first))
	w.deployment()
	w.start(publishing)
	w.eventually("it is published", func() bool { return len(w.capacities()) == 1 })
	w.kill()
	if len(w.capacities()) != 1 {
		t.Fatal("a controller that ended took the capacity with it, and with it all pods that wait")
	}
	deployments := w.AppsV1().Deployments(capacityNamespace)
	if err := deployments.Delete(t.Context(), "controller", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.start(publishing) // and finds no owner yet
	if _, err := deployments.Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "controller", UID: "uid-2"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("it has the new owner", func() bool { return w.capacities()["late"].OwnerReferences[0].UID == "uid-2" })
}

// A class that can have no volume has no capacity, and an event says why; one
// whose storage does not answer keeps what was known.
func TestClassesWithoutCapacity(t *testing.T) {
	w := newWorld(t, class("late", first), class("wrong", first, func(c *storagev1.StorageClass) { c.Parameters["volumtype"] = "none" }))
	w.deployment()
	w.start(publishing)
	w.eventually("an event on the class", func() bool {
		return strings.Contains(w.events(), "Warning CapacityUnknown StorageClass/wrong") && strings.Contains(w.events(), "volumtype")
	})
	w.eventually("the other class has its capacity", func() bool { _, largest := w.room("late"); return largest > 0 })
	if _, there := w.capacities()["wrong"]; there {
		t.Error("a class that can have no volume has a capacity")
	}
	_, before := w.room("late")
	for _, n := range w.cluster.Config().Nodes {
		w.cluster.SetState(n.Name, agenttest.Off)
	}
	w.eventually("the failure is in the log", func() bool { return strings.Contains(w.log.String(), "was not published in full") })
	if _, after := w.room("late"); after != before {
		t.Errorf("with no agent answering the largest volume is %d, it was %d", after, before)
	}
	for _, n := range w.cluster.Config().Nodes {
		w.cluster.SetState(n.Name, agenttest.Up)
	}
}

func TestZonesOf(t *testing.T) {
	expression := func(key string, values ...string) corev1.TopologySelectorLabelRequirement {
		return corev1.TopologySelectorLabelRequirement{Key: key, Values: values}
	}
	term := func(e ...corev1.TopologySelectorLabelRequirement) corev1.TopologySelectorTerm {
		return corev1.TopologySelectorTerm{MatchLabelExpressions: e}
	}
	zone := expression("topology.kubernetes.io/zone", "b", "a")
	for _, test := range []struct {
		name    string
		allowed []corev1.TopologySelectorTerm
		want    []string
	}{
		{"no terms", nil, nil},
		{"two zones", []corev1.TopologySelectorTerm{term(zone)}, []string{"a", "b"}},
		{"two terms", []corev1.TopologySelectorTerm{term(zone), term(expression("topology.kubernetes.io/zone", "c", "a"))}, []string{"a", "b", "c"}},
		{"another label beside it", []corev1.TopologySelectorTerm{term(expression("example.com/rack", "r1"), zone)}, []string{"a", "b"}},
		{"another label only", []corev1.TopologySelectorTerm{term(expression("example.com/rack", "r1"))}, nil},
		{"one term open to all zones", []corev1.TopologySelectorTerm{term(zone), term(expression("example.com/rack", "r1"))}, nil},
	} {
		if diff := cmp.Diff(test.want, zonesOf(test.allowed)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// The bricks of a class lie in its zones, near the node that the scheduler chose.
func TestVolumesLieWhereTheClassAndTheSchedulerSay(t *testing.T) {
	w := newWorld(t, class("pinned", first, zones("z2", "z3"), func(c *storagev1.StorageClass) { c.Parameters["volumetype"] = "none" }),
		class("nowhere", zones("z9")))
	for worker, zone := range map[string]string{"worker-2": "z2", "worker-3": "z3"} {
		_, err := w.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: worker, Labels: map[string]string{"topology.kubernetes.io/zone": zone}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	for worker, node := range map[string]string{"worker-2": "n2", "worker-3": "n3", "worker-unknown": ""} {
		claim := w.claim(worker, func(c *corev1.PersistentVolumeClaim) {
			*c.Spec.StorageClassName = "pinned"
			c.Annotations["volume.kubernetes.io/selected-node"] = worker
		})
		w.bound(claim.Name)
		pv := w.pv(claim)
		h, err := volume.ParseHandle(pv.Spec.CSI.VolumeHandle)
		if err != nil {
			t.Fatal(err)
		}
		v, err := w.backend.Get(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		address, _, _ := strings.Cut(v.Bricks[0], ":")
		near := node == "" || address == w.backend.Nodes[node[1]-'1'].Address
		if !near || address == w.backend.Nodes[0].Address {
			t.Errorf("for a pod on %s the brick is %s", worker, v.Bricks[0])
		}
		if server, _, _ := strings.Cut(pv.Spec.CSI.VolumeAttributes["servers"], ","); server != address {
			t.Errorf("for a pod on %s the first server is %s, the brick's is %s", worker, server, address)
		}
		w.remove(claim.Name)
	}
	claim := w.claim("nowhere", func(c *corev1.PersistentVolumeClaim) { *c.Spec.StorageClassName = "nowhere" })
	w.eventually("an event says that the pool has no such zone", func() bool {
		return strings.Contains(w.events(), "in the zones z9, to which the class keeps it, the pool has 0")
	})
	w.remove(claim.Name)
	w.empty()
}
