package provisioner

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"bricklayer.csi/internal/lifecycle/lifecycletest"
	"bricklayer.csi/internal/volume"
)

const hidden = "s3cr3t-k3y"

func TestSecrets(t *testing.T) {
	client := fake.NewClientset(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "storage", Name: "heketi"}, Data: map[string][]byte{"key": []byte(hidden + "\n")},
	})
	client.PrependReactor("get", "secrets", func(a k8stesting.Action) (bool, runtime.Object, error) {
		if a.GetNamespace() == "forbidden" {
			return true, nil, apierrors.NewForbidden(corev1.Resource("secrets"), "heketi", fmt.Errorf("RBAC"))
		}
		if a.GetNamespace() == "away" {
			return true, nil, apierrors.NewServiceUnavailable("the API server is away")
		}
		return false, nil, nil
	})
	s := Secrets{Client: client}
	got, err := s.Secret(t.Context(), "storage", "heketi")
	if err != nil || got["key"].Reveal() != hidden {
		t.Errorf("got %v, %v", got, err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", got, got, got), hidden) {
		t.Error("a Secret prints itself")
	}
	for namespace, want := range map[string]volume.Kind{"storage": volume.NotFound, "forbidden": volume.Denied, "away": volume.Unavailable} {
		if _, err := s.Secret(t.Context(), namespace, "none"); !volume.Is(err, want) {
			t.Errorf("in %s: %v (%v), want %v", namespace, err, volume.KindOf(err), want)
		}
	}
}

// TestNoSecretLeaves makes the PersistentVolume of an in-tree class with a key
// in it, and fails to: the key is in no object, event or log.
func TestNoSecretLeaves(t *testing.T) {
	inTree := map[string]string{
		"resturl": "http://heketi:8080", "restuser": "admin", "restuserkey": hidden,
		"secretNamespace": "storage", "secretName": "heketi",
	}
	o := controller.ProvisionOptions{
		PVName:       "pvc-1",
		PVC:          &corev1.PersistentVolumeClaim{},
		StorageClass: &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "gluster"}, Parameters: inTree},
	}
	p := &provisioner{driver: testDriver, log: discard(), volumes: lifecycletest.OnePool{
		Pool: "old", Name: volume.Heketi, HeketiURL: "http://heketi:8080",
	}.Service()}
	spec, err := p.spec(o)
	if err != nil {
		t.Fatalf("an in-tree class is not understood: %v", err)
	}
	text, err := json.Marshal(newPV(testDriver, o, volume.Volume{Handle: spec.Handle(), Size: 1 << 30, Servers: []string{"n1"}, GID: 2000}))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{hidden, "admin", "heketi:8080", "storage"} {
		if strings.Contains(strings.ReplaceAll(string(text), `"capacity":{"storage"`, ""), secret) {
			t.Errorf("%q is in the PersistentVolume %s", secret, text)
		}
	}
	for _, name := range []string{"snapfactor", "restauthenabled", "clusterid", "secretName"} {
		parameters := map[string]string{"lvm": "true"}
		maps.Copy(parameters, inTree)
		parameters[name] = "-\x00bad"
		o.StorageClass = &storagev1.StorageClass{Parameters: parameters}
		if _, err := p.spec(o); err == nil || strings.Contains(err.Error(), hidden) {
			t.Errorf("a bad %s: %v", name, err)
		}
	}
}
