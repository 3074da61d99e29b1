package provisioner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"bricklayer.csi/internal/volume"
)

func TestClaimBecomesVolume(t *testing.T) {
	retain := corev1.PersistentVolumeReclaimDelete
	w := newWorld(t, class("tuned", func(c *storagev1.StorageClass) {
		c.Parameters = map[string]string{"lvm": "false", "volumetype": "none", "gidMin": "3000", "gidMax": "3000"}
		c.MountOptions = []string{"noatime"}
		c.ReclaimPolicy = &retain
		c.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{
			{Key: "topology.kubernetes.io/zone", Values: []string{"z1", "z2"}},
		}}}
	}))
	w.start()
	claim := w.claim("data", func(c *corev1.PersistentVolumeClaim) {
		*c.Spec.StorageClassName = "tuned"
		c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteMany}
		c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("70000k")
	})
	claim = w.bound(claim.Name)
	pv := w.pv(claim)
	handle := "bl1.plain." + w.backend.Pool + ".pvc-" + string(claim.UID)
	h, err := volume.ParseHandle(handle)
	if err != nil {
		t.Fatal(err)
	}
	v, err := w.backend.Get(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	filesystem := corev1.PersistentVolumeFilesystem
	want := corev1.PersistentVolumeSpec{
		Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("67Mi")},
		AccessModes: claim.Spec.AccessModes,
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
			Driver: testDriver, VolumeHandle: handle,
			VolumeAttributes: map[string]string{"servers": strings.Join(v.Servers, ","), "volume": h.Name, "gid": "3000"},
		}},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
		StorageClassName:              "tuned",
		MountOptions:                  []string{"noatime"},
		VolumeMode:                    &filesystem,
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "topology.kubernetes.io/zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"z1", "z2"}}},
		}}}},
	}
	got := *pv.Spec.DeepCopy()
	got.ClaimRef = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the PersistentVolume (-want +got):\n%s", diff)
	}
	if gid := pv.Annotations["pv.beta.kubernetes.io/gid"]; gid != "3000" {
		t.Errorf("gid annotation %q, want 3000", gid)
	}
	if by := pv.Annotations["pv.kubernetes.io/provisioned-by"]; by != testDriver {
		t.Errorf("provisioned by %q", by)
	}
	if !slices.Contains(pv.Finalizers, "external-provisioner.volume.kubernetes.io/finalizer") {
		t.Errorf("finalizers %q hold no deletion back", pv.Finalizers)
	}
	w.remove(claim.Name)
	w.empty()
}

func TestWaitForFirstConsumer(t *testing.T) {
	w := newWorld(t, class("late", func(c *storagev1.StorageClass) {
		mode := storagev1.VolumeBindingWaitForFirstConsumer
		c.VolumeBindingMode = &mode
	}))
	w.start()
	late := w.claim("late", func(c *corev1.PersistentVolumeClaim) { *c.Spec.StorageClassName = "late" })
	w.claim("soon")
	w.bound("soon")
	if w.pv(late) != nil || slices.Contains(w.get("late").Finalizers, testFinalizer) {
		t.Fatal("a claim was served before a pod wanted it")
	}
	patch := []byte(`{"metadata":{"annotations":{"volume.kubernetes.io/selected-node":"worker1"}}}`)
	if _, err := w.CoreV1().PersistentVolumeClaims(testNamespace).Patch(t.Context(), "late", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.bound("late")
	w.remove("late")
	w.remove("soon")
	w.empty()
}

func TestReclaimPolicyRetain(t *testing.T) {
	w := newWorld(t, class("kept", func(c *storagev1.StorageClass) {
		retain := corev1.PersistentVolumeReclaimRetain
		c.ReclaimPolicy = &retain
	}))
	w.start()
	claim := w.claim("kept", func(c *corev1.PersistentVolumeClaim) { *c.Spec.StorageClassName = "kept" })
	w.bound("kept")
	w.remove("kept")
	w.claim("other") // by the time it is bound the release of the first has been seen
	w.bound("other")
	w.remove("other")
	w.eventually("one volume is left", func() bool { return w.count() == 1 })
	pv := w.pv(claim)
	if pv == nil || pv.Status.Phase != corev1.VolumeReleased || w.get("kept") != nil {
		t.Fatalf("a retained volume: %v, its claim: %v", pv, w.get("kept"))
	}
	w.volumesGone(t)
}

// volumesGone deletes what a test kept on purpose.
func (w *world) volumesGone(t *testing.T) {
	t.Helper()
	w.kill()
	all, err := w.backend.List(t.Context(), w.backend.Pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if err := w.backend.Delete(t.Context(), v.Handle); err != nil {
			t.Error(err)
		}
	}
}

// TestRefused asserts what a user reads about a claim that cannot be served.
func TestRefused(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	snapshots, attributes := "snapshot.storage.k8s.io", "gold"
	inClass := func(parameters map[string]string, mountOptions ...string) func(*storagev1.StorageClass) {
		return func(c *storagev1.StorageClass) {
			c.MountOptions = mountOptions
			maps.Copy(c.Parameters, parameters)
		}
	}
	for name, test := range map[string]struct {
		class func(*storagev1.StorageClass)
		claim func(*corev1.PersistentVolumeClaim)
		want  string // as events print it
	}{
		"block": {
			claim: func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = &block },
			want:  `Warning ProvisioningFailed PersistentVolumeClaim/c: spec.volumeMode: "Block" is not allowed; allowed: Filesystem: a Gluster volume is a file system, no block device`,
		},
		"selector": {
			claim: func(c *corev1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} },
			want:  `Warning ProvisioningFailed PersistentVolumeClaim/c: spec.selector: "present" is not allowed; allowed: nothing: a new volume has no labels to select by; name an existing one in spec.volumeName`,
		},
		"snapshot": {
			claim: func(c *corev1.PersistentVolumeClaim) {
				c.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: &snapshots, Kind: "VolumeSnapshot", Name: "monday"}
			},
			want: `Normal ProvisioningIgnored PersistentVolumeClaim/c: the claim is left alone: it asks for the data of VolumeSnapshot "monday"`,
		},
		"populator": {
			claim: func(c *corev1.PersistentVolumeClaim) {
				c.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: "Backup", Name: "b"}
			},
			want: `Normal ProvisioningIgnored PersistentVolumeClaim/c: the claim is left alone: it asks for the data of Backup "b"`,
		},
		"attributes class": {
			claim: func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = &attributes },
			want:  `Warning ProvisioningFailed PersistentVolumeClaim/c: spec.volumeAttributesClassName: "gold" is not allowed; allowed: nothing: this driver modifies no volumes`,
		},
		"limit below request": {
			claim: func(c *corev1.PersistentVolumeClaim) {
				c.Spec.Resources.Limits = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}
			},
			want: `Warning ProvisioningFailed PersistentVolumeClaim/c: spec.resources of the claim: capacity_range.limit_bytes: "1048576" is not allowed`,
		},
		"too large for ever": {
			claim: func(c *corev1.PersistentVolumeClaim) {
				c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("9E")
			},
			want: `Warning ProvisioningFailed PersistentVolumeClaim/c: spec.resources of the claim: read capacity_range.required_bytes`,
		},
		"parameter": {
			class: inClass(map[string]string{"volumtype": "none"}),
			want:  `Warning ProvisioningFailed PersistentVolumeClaim/c: StorageClass c: parameters: "volumtype" is not allowed; allowed: did you mean volumetype?`,
		},
		"file system": {
			class: inClass(map[string]string{"csi.storage.k8s.io/fstype": "xfs"}),
			want:  `Warning ProvisioningFailed PersistentVolumeClaim/c: StorageClass c: parameters.csi.storage.k8s.io/fstype: "xfs" is not allowed; allowed: nothing, or glusterfs`,
		},
		"mount option": {
			class: inClass(nil, "log-file=/etc/passwd"),
			want:  `Warning ProvisioningFailed PersistentVolumeClaim/c: mountOptions of StorageClass c: mount_flags: "log-file=/etc/passwd" is not allowed`,
		},
		"pool": {
			class: inClass(map[string]string{"pool": "moon"}),
			want:  `Warning ProvisioningFailed PersistentVolumeClaim/c: StorageClass c: parameters.pool: "moon" is not allowed; allowed: one of `,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, class("c", func(c *storagev1.StorageClass) {
				if test.class != nil {
					test.class(c)
				}
			}))
			w.start()
			claim := w.claim("c", func(c *corev1.PersistentVolumeClaim) {
				*c.Spec.StorageClassName = "c"
				if test.claim != nil {
					test.claim(c)
				}
			})
			w.eventually("an event says: "+test.want, func() bool { return strings.Contains(w.events(), test.want) })
			if w.pv(claim) != nil || len(w.get("c").Finalizers) > 0 {
				t.Errorf("something was made or marked: %v, finalizers %q", w.pv(claim), w.get("c").Finalizers)
			}
			w.remove("c")
			w.empty()
		})
	}
}

// TestUnknownOutcome loses answers of creates that succeeded, and of ones that
// did not, before one arrives: there is one volume, and one PersistentVolume.
func TestUnknownOutcome(t *testing.T) {
	w := newWorld(t)
	var calls atomic.Int32
	fail := func(_ context.Context, op string, h volume.Handle) error {
		if op == "create" && calls.Add(1) <= 3 {
			return lost(op, h)
		}
		return nil
	}
	w.volumes.set(nil, fail)
	w.start()
	claim := w.claim("data")
	w.bound("data")
	if n := w.count(); n != 1 || calls.Load() < 4 {
		t.Errorf("%d volumes after %d calls", n, calls.Load())
	}
	if !strings.Contains(w.events(), "Warning ProvisioningFailed PersistentVolumeClaim/data: create on bl1.plain.lab.pvc-"+string(claim.UID)) {
		t.Errorf("no event says that an outcome is unknown:\n%s", w.events())
	}
	w.remove("data")
	w.empty()
}

// TestExhausted fills the pool: the claim waits with an event, leaves nothing
// meanwhile, and is served once there is room.
func TestExhausted(t *testing.T) {
	w := newWorld(t)
	var room atomic.Bool
	w.volumes.set(func(_ context.Context, op string, h volume.Handle) error {
		if op == "create" && !room.Load() {
			return &volume.Error{Kind: volume.Exhausted, Op: "create volume", On: h.String(), Err: fmt.Errorf("there is no room"), Next: "add a brick root"}
		}
		return nil
	}, nil)
	w.start()
	w.claim("data")
	w.eventually("an event says what to do", func() bool { return strings.Contains(w.events(), "there is no room (add a brick root)") })
	room.Store(true)
	w.bound("data")
	w.remove("data")
	w.empty()
}

func TestManyClaims(t *testing.T) {
	w := newWorld(t)
	w.start(func(o *Options) { o.Workers = DefaultWorkers })
	const claims = 50
	for i := range claims {
		w.claim(fmt.Sprintf("c%d", i))
	}
	for i := range claims {
		w.bound(fmt.Sprintf("c%d", i))
	}
	if n := w.count(); n != claims {
		t.Errorf("%d volumes for %d claims", n, claims)
	}
	for i := range claims {
		w.remove(fmt.Sprintf("c%d", i))
	}
	w.empty()
}

func TestDeleteLeavesAlone(t *testing.T) {
	w := newWorld(t)
	p := &provisioner{driver: testDriver, volumes: w.volumes, log: discard()}
	csi := func(driver, handle string) *corev1.PersistentVolume {
		pv := &corev1.PersistentVolume{}
		pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}
		return pv
	}
	for name, test := range map[string]struct {
		pv   *corev1.PersistentVolume
		want string
	}{
		"no CSI":          {&corev1.PersistentVolume{}, "ignored because its volume is not of the driver bricklayer.csi"},
		"another driver":  {csi("other", "x"), "ignored because its volume is not of the driver bricklayer.csi"},
		"another version": {csi(testDriver, "bl2.plain.lab.x"), `find volume: volume_id: "bl2.plain.lab.x" is not allowed; allowed: bl1.BACKEND.POOL.VOLUME, as returned when the volume was created`},
		"never ours":      {csi(testDriver, "vol_12"), ""},
		"gone":            {csi(testDriver, "bl1.plain."+w.backend.Pool+".gone"), ""},
		"gone pool":       {csi(testDriver, "bl1.plain.moon.v"), "delete volume on bl1.plain.moon.v: "},
	} {
		got := ""
		if err := p.Delete(t.Context(), test.pv); err != nil {
			got = err.Error()
		}
		if test.want == "" && got != "" || !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
