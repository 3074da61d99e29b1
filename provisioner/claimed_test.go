package provisioner

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"bricklayer.csi/internal/volume"
)

func TestClaimed(t *testing.T) {
	pv := func(name, driver, id string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: id},
			}},
		}
	}
	client := fake.NewClientset(
		pv("a", "bricklayer.csi", "bl1.plain.lab.a"), pv("b", "other.csi", "bl1.plain.lab.b"), pv("c", "bricklayer.csi", "no handle of ours"),
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "local"}},
		&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
			Name: "d", Namespace: "x", Annotations: map[string]string{"bricklayer.csi/volume-handle": "bl1.heketi.lab.d"},
		}},
		&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "x"}},
	)
	got, err := Claimed(t.Context(), client, "bricklayer.csi")
	if err != nil {
		t.Fatal(err)
	}
	want := map[volume.Handle]bool{
		{Backend: volume.Plain, Pool: "lab", Name: "a"}:  true,
		{Backend: volume.Heketi, Pool: "lab", Name: "d"}: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, resource := range []string{"persistentvolumes", "persistentvolumeclaims"} {
		client := fake.NewClientset()
		client.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("the API server is away")
		})
		if got, err := Claimed(t.Context(), client, "bricklayer.csi"); !volume.Is(err, volume.Unavailable) || got != nil {
			t.Errorf("%s cannot be listed: %v, %v", resource, got, err)
		}
	}
}
