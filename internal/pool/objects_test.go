package pool

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bricklayer.csi/api/client/informers"
	"bricklayer.csi/api/client/versioned/fake"
	"bricklayer.csi/api/v1alpha1"
)

func object(name, address string) *v1alpha1.StoragePool {
	return &v1alpha1.StoragePool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.StoragePoolSpec{Nodes: []v1alpha1.StorageNode{
			{Name: "n1", Address: address, Roots: []v1alpha1.BrickRoot{{Name: "r1", Path: "/bricks/r1"}}},
		}},
	}
}

func TestObjectsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(object("fast", "10.0.0.1"))
		factory := informers.NewSharedInformerFactory(client, 0)
		informer := factory.Bricklayer().V1alpha1().StoragePools()
		informer.Informer()
		factory.Start(t.Context().Done())
		t.Cleanup(factory.Shutdown)
		var text strings.Builder
		o, err := Follow(t.Context(), informer, slog.New(slog.NewTextHandler(&text, nil)))
		if err != nil {
			t.Fatal(err)
		}
		var told [][]string
		var last []v1alpha1.StoragePool
		cancel := o.Subscribe(func(p []v1alpha1.StoragePool) { told, last = append(told, names(p)), p })
		pools := client.BricklayerV1alpha1().StoragePools()
		step := func(want int, what string, change func() error) {
			t.Helper()
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if synctest.Wait(); len(told) != want {
				t.Fatalf("%s: told %d times, want %d: %v", what, len(told), want, told)
			}
		}
		step(1, "at once", func() error { return nil })
		if last[0].Spec.Nodes[0].Agent != "10.0.0.1:24010" || last[0].Kind != v1alpha1.Kind {
			t.Errorf("defaults are missing: %+v", last[0])
		}
		step(2, "another pool", func() error {
			_, err := pools.Create(t.Context(), object("slow", "10.0.0.2"), metav1.CreateOptions{})
			return err
		})
		step(2, "a status", func() error {
			p, err := pools.Get(t.Context(), "fast", metav1.GetOptions{})
			if err != nil {
				return err
			}
			p.Status.ObservedGeneration = 7
			_, err = pools.UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
			return err
		})
		step(2, "a change for the worse", func() error {
			_, err := pools.Update(t.Context(), object("fast", "localhost"), metav1.UpdateOptions{})
			return err
		})
		if last[0].Spec.Nodes[0].Address != "10.0.0.1" || !strings.Contains(text.String(), `spec.nodes[0].address`) {
			t.Errorf("got %+v; log: %s", last[0], text.String())
		}
		step(3, "a change", func() error {
			_, err := pools.Update(t.Context(), object("fast", "10.0.0.3"), metav1.UpdateOptions{})
			return err
		})
		step(4, "a pool goes", func() error { return pools.Delete(t.Context(), "slow", metav1.DeleteOptions{}) })
		cancel()
		step(4, "nobody listens", func() error { return pools.Delete(t.Context(), "fast", metav1.DeleteOptions{}) })
	})
}
