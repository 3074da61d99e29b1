package claims

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"bricklayer.csi/bench"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// mounter remembers what is mounted.
type mounter struct {
	mount.Mounter
	at  map[string]string
	err error
}

func (m *mounter) Glusterfs(_ context.Context, src mount.Source, target string, _ mount.Flags) error {
	if m.err == nil {
		m.at[target] = src.Volume
	}
	return m.err
}

func (m *mounter) Unmount(_ context.Context, target string) error { delete(m.at, target); return nil }

// cluster is a fake with a class, which binds claims at once and deletes volumes
// with their claims.
func cluster(policy corev1.PersistentVolumeReclaimPolicy, attributes map[string]string) *fake.Clientset {
	later := storagev1.VolumeBindingWaitForFirstConsumer
	c := fake.NewClientset(
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: "bricklayer.csi", Parameters: map[string]string{"lvm": "false", "restuserkey": "s3cret"}},
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "later"}, VolumeBindingMode: &later},
	)
	c.PrependReactor("create", "persistentvolumeclaims", func(a kubetesting.Action) (bool, runtime.Object, error) {
		pvc := a.(kubetesting.CreateAction).GetObject().(*corev1.PersistentVolumeClaim)
		pvc.Status.Phase, pvc.Spec.VolumeName = corev1.ClaimBound, "pv1"
		return false, nil, c.Tracker().Add(&corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pv1"},
			Spec: corev1.PersistentVolumeSpec{
				PersistentVolumeReclaimPolicy: policy,
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
					Driver: "bricklayer.csi", VolumeHandle: "bl1.plain.p.v", VolumeAttributes: attributes,
				}},
			},
		})
	})
	c.PrependReactor("delete", "persistentvolumeclaims", func(kubetesting.Action) (bool, runtime.Object, error) {
		if policy == corev1.PersistentVolumeReclaimDelete {
			return false, nil, c.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("persistentvolumes"), "", "pv1")
		}
		return false, nil, nil
	})
	return c
}

func open(t *testing.T, c *fake.Clientset, class string, m *mounter) *Claim {
	t.Helper()
	claim, err := New("fast", "bench-1", class, volume.GiB, Options{
		Client: c, Namespace: "ns", Mounts: bench.Mounts{Mounter: m, Dir: t.TempDir()}, Poll: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return claim
}

var attributes = map[string]string{"servers": "10.0.0.1,10.0.0.2", "volume": "v1"}

func TestClaim(t *testing.T) {
	c := cluster(corev1.PersistentVolumeReclaimDelete, attributes)
	m := &mounter{at: map[string]string{}}
	claim := open(t, c, "fast", m)
	place, err := claim.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.at[place.Dir] != "v1" {
		t.Errorf("mounted %v, want v1 at %s", m.at, place.Dir)
	}
	for key, value := range place.Facts {
		if strings.Contains(value, "s3cret") {
			t.Errorf("%s shows the key", key)
		}
	}
	if place.Facts["parameter lvm"] != "false" || place.Facts["handle"] != "bl1.plain.p.v" {
		t.Errorf("%v", place.Facts)
	}
	for range 2 { // it may be called again
		if err := claim.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(place.Dir); !errors.Is(err, os.ErrNotExist) || len(m.at) != 0 {
		t.Errorf("the mount point is left: %v, %v", err, m.at)
	}
	all, err := c.CoreV1().PersistentVolumeClaims("ns").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(all.Items) != 0 {
		t.Errorf("%d claims are left (%v)", len(all.Items), err)
	}
}

func TestClaimFails(t *testing.T) {
	for name, tc := range map[string]struct {
		class      string
		attributes map[string]string
		mount      error
		want       string
	}{
		"no class":        {"slow", attributes, nil, `StorageClass slow`},
		"waits for a pod": {"later", attributes, nil, "want a class with Immediate"},
		"not ours":        {"fast", map[string]string{}, nil, "PersistentVolume pv1 of driver bricklayer.csi"},
		"no mount":        {"fast", attributes, errors.New("no FUSE"), "no FUSE"},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(corev1.PersistentVolumeReclaimDelete, tc.attributes)
			claim := open(t, c, tc.class, &mounter{at: map[string]string{}, err: tc.mount})
			if _, err := claim.Open(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want an error with %q", err, tc.want)
			}
			if err := claim.Close(t.Context()); err != nil {
				t.Error(err)
			}
			all, err := c.CoreV1().PersistentVolumeClaims("ns").List(t.Context(), metav1.ListOptions{})
			if err != nil || len(all.Items) != 0 {
				t.Errorf("%d claims are left (%v)", len(all.Items), err)
			}
		})
	}
}

func TestRetainedVolumeIsSaid(t *testing.T) {
	claim := open(t, cluster(corev1.PersistentVolumeReclaimRetain, attributes), "fast", &mounter{at: map[string]string{}})
	if _, err := claim.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := claim.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "delete it by hand") {
		t.Errorf("%v, want to be told of the volume", err)
	}
}
