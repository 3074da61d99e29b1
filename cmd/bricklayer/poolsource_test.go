package main

import (
	"context"
	"log/slog"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/volume"
)

func TestPoolsFrom(t *testing.T) {
	with, without := &kubeOptions{on: true}, &kubeOptions{}
	for _, test := range []struct {
		from string
		kube *kubeOptions
		ok   bool
	}{
		{fromFile, without, true}, {fromFile, with, true}, {fromAPI, with, true}, {fromAPI, without, false}, {"etcd", with, false},
	} {
		o := sourceOptions{from: test.from}
		if err := o.Validate(test.kube); (err == nil) != test.ok {
			t.Errorf("--pools-from=%s, Kubernetes %v: %v", test.from, test.kube.on, err)
		}
	}
}

type secrets map[string]volume.Secret

func (s secrets) Secret(context.Context, string, string) (map[string]volume.Secret, error) {
	return s, nil
}

func TestKeyInASecret(t *testing.T) {
	at := v1alpha1.SecretKey{Namespace: "bricklayer", Name: "heketi", Key: "key"}
	values := secrets{"key": "one"}
	k := secretKey{secrets: values, at: at}
	for _, want := range []volume.Secret{"one", "two"} {
		values["key"] = want
		if got, err := k.Key(t.Context()); err != nil || got != want {
			t.Errorf("got %v", err)
		}
	}
	delete(values, "key")
	if _, err := k.Key(t.Context()); !volume.Is(err, volume.Precondition) {
		t.Errorf("a Secret without that key: %v", err)
	}
	if _, err := (secretKey{at: at}).Key(t.Context()); !volume.Is(err, volume.Precondition) {
		t.Errorf("no Kubernetes: %v", err)
	}
}

// A pool that is being deleted makes no volumes, and still does all else.
func TestLeavingPool(t *testing.T) {
	p := newPools(nil, slog.New(slog.DiscardHandler))
	now := metav1.Now()
	r := v1alpha1.StoragePool{ObjectMeta: metav1.ObjectMeta{Name: "fast", DeletionTimestamp: &now}}
	r.Spec.Heketi = &v1alpha1.HeketiEndpoint{URL: "http://heketi:8080"}
	r.SetDefaults()
	p.set([]v1alpha1.StoragePool{r})
	b, err := p.Backend("fast", volume.Heketi)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(t.Context(), volume.Spec{Name: "pvc-1"}); !volume.Is(err, volume.Precondition) {
		t.Errorf("it makes a volume: %v", err)
	}
	m, ok := p.members("fast")
	if !ok || m.Heketi == nil || len(m.Agents) != 0 {
		t.Errorf("members: %+v, %v", m, ok)
	}
	if _, ok := p.members("other"); ok {
		t.Error("an unknown pool has members")
	}
}
