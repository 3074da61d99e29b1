//go:build kube && lab

package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	storagev1 "k8s.io/api/storage/v1"

	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/internal/pool"
)

// capacity returns what the controllers publish of a class, or nil.
func (c cluster) capacity(ctx context.Context, class string) (*storagev1.CSIStorageCapacity, error) {
	out, err := c.Kubectl(ctx, "get", "csistoragecapacities", "-n", namespace, "-o", "json")
	if err != nil {
		return nil, err
	}
	var list storagev1.CSIStorageCapacityList
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].StorageClassName == class {
			return &list.Items[i], nil
		}
	}
	return nil, nil
}

// published waits until a class has a capacity.
func (c cluster) published(t *testing.T, class string) (o *storagev1.CSIStorageCapacity) {
	t.Helper()
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (err error) {
		o, err = c.capacity(ctx, class)
		if err == nil && (o == nil || o.MaximumVolumeSize == nil || o.MaximumVolumeSize.Value() <= 0) {
			err = fmt.Errorf("class %s has no capacity: %+v", class, o)
		}
		return err
	})
	return o
}

// A pod whose claim is larger than any volume could be is not scheduled, and says
// so; one that fits is, meanwhile.
func TestSchedulerHeedsCapacity(t *testing.T) {
	c := newCluster(t)
	w1, _ := c.workers(t)
	o := c.published(t, "plain-first")
	t.Logf("class plain-first: %s in all, %s the largest volume", o.Capacity, o.MaximumVolumeSize)
	if len(o.OwnerReferences) != 1 || o.OwnerReferences[0].Kind != "Deployment" {
		t.Errorf("the object has the owners %+v, want the controllers' Deployment", o.OwnerReferences)
	}
	wide := strings.Replace(claim("wide", "plain-first", "ReadWriteMany"), "1Gi", "900Gi", 1)
	c.apply(t, wide+pod("wide", w1, "wide", idle)+claim("narrow", "plain-first", "ReadWriteMany")+pod("narrow", w1, "narrow", idle))
	t.Cleanup(func() { c.gone(t, []string{"wide", "narrow"}, []string{"wide", "narrow"}) })

	const want = "did not have enough free storage"
	labtest.Eventually(t, time.Minute, func(ctx context.Context) error {
		out, err := c.Kubectl(ctx, "get", "events", "--field-selector", "involvedObject.name=wide,involvedObject.kind=Pod", "-o", "jsonpath={.items[*].message}")
		if err == nil && !strings.Contains(string(out), want) {
			err = fmt.Errorf("the events of the pod say %q, want %q", out, want)
		}
		return err
	})
	c.bound(t, "narrow")
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/narrow", "--timeout=2m")
	if got := c.kubectl(t, "get", "pvc", "wide", "-o", "jsonpath={.status.phase} {.metadata.annotations.volume\\.kubernetes\\.io/selected-node}"); got != "Pending" {
		t.Errorf("the claim that is too large is %q, want Pending and no node chosen", got)
	}
	// What the new volume took is missing now.
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) error {
		now, err := c.capacity(ctx, "plain-first")
		if err == nil && (now == nil || now.Capacity.Cmp(*o.Capacity) >= 0) {
			err = fmt.Errorf("capacity before %s, with one volume more %+v", o.Capacity, now)
		}
		return err
	})
}

// A class that names a zone gets its bricks there, and its pods; when the class
// goes its capacity does.
func TestClassOfOneZone(t *testing.T) {
	c := newCluster(t)
	w1, _ := c.workers(t)
	zone := c.Workers()[0].Zone
	c.apply(t, fmt.Sprintf(`
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: one-zone}
provisioner: bricklayer.csi
volumeBindingMode: WaitForFirstConsumer
parameters: {lvm: "false", volumetype: none}
allowedTopologies:
- matchLabelExpressions: [{key: topology.kubernetes.io/zone, values: [%s]}]
`, zone))
	t.Cleanup(func() { c.kubectl(t, "delete", "storageclass", "one-zone", "--ignore-not-found") })
	c.published(t, "one-zone")
	c.apply(t, claim("zonal", "one-zone", "ReadWriteOnce")+pod("zonal", w1, "zonal", idle))
	pv := c.bound(t, "zonal")
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/zonal", "--timeout=2m")
	if got := c.kubectl(t, "get", "pv", pv, "-o", "jsonpath={.spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]}"); got != zone {
		t.Errorf("pods of the volume are kept to zone %q, want %q", got, zone)
	}
	pools, err := pool.Load(c.PoolFile())
	if err != nil {
		t.Fatal(err)
	}
	servers := c.kubectl(t, "get", "pv", pv, "-o", "jsonpath={.spec.csi.volumeAttributes.servers}")
	first, _, _ := strings.Cut(servers, ",")
	for _, n := range pools[0].Spec.Nodes {
		if n.Address == first && n.Zone != zone {
			t.Errorf("the first server, %s, is in zone %s, want %s", first, n.Zone, zone)
		}
	}
	c.gone(t, []string{"zonal"}, []string{"zonal"})
	c.kubectl(t, "delete", "storageclass", "one-zone")
	labtest.Eventually(t, time.Minute, func(ctx context.Context) error {
		o, err := c.capacity(ctx, "one-zone")
		if err == nil && o != nil {
			err = fmt.Errorf("class one-zone is gone and has a capacity: %s", o.Name)
		}
		return err
	})
}

// Classes on heketi have a capacity too; one that can have no volume has none, and
// says why.
func TestCapacityOfLVMClasses(t *testing.T) {
	c := newCluster(t)
	class := func(name, more string) string {
		return fmt.Sprintf(`
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: %s}
provisioner: bricklayer.csi
volumeBindingMode: WaitForFirstConsumer
parameters: {lvm: "true"}
%s`, name, more)
	}
	const pinned = "allowedTopologies: [{matchLabelExpressions: [{key: topology.kubernetes.io/zone, values: [z1]}]}]\n"
	t.Cleanup(func() { c.kubectl(t, "delete", "storageclass", "lvm-first", "lvm-zonal", "--ignore-not-found") })
	c.apply(t, class("lvm-first", "")+class("lvm-zonal", pinned))
	o := c.published(t, "lvm-first")
	t.Logf("class lvm-first: %s in all, %s the largest volume", o.Capacity, o.MaximumVolumeSize)
	labtest.Eventually(t, time.Minute, func(ctx context.Context) error {
		out, err := c.Kubectl(ctx, "get", "events", "--field-selector", "involvedObject.name=lvm-zonal,reason=CapacityUnknown", "-o", "jsonpath={.items[*].message}")
		if err == nil && !strings.Contains(string(out), "clusterid") {
			err = fmt.Errorf("the events of the class say %q, want why it has no capacity", out)
		}
		return err
	})
	if o, err := c.capacity(t.Context(), "lvm-zonal"); err != nil || o != nil {
		t.Errorf("a class that can have no volume has the capacity %+v (%v)", o, err)
	}
}
