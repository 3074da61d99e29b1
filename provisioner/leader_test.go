package provisioner

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

func lease(client *fake.Clientset, identity string) Lease {
	return Lease{
		Client: client, Namespace: "bricklayer", Name: "bricklayer-csi", Identity: identity, Log: discard(),
		duration: 600 * time.Millisecond, renew: 400 * time.Millisecond, retry: 50 * time.Millisecond,
	}
}

// candidate competes until stop; leading counts who works at present.
type candidate struct {
	began chan struct{}
	stop  func()
}

func (l Lease) candidate(t *testing.T, leading *atomic.Int32) candidate {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	c, done := candidate{began: make(chan struct{}, 10)}, make(chan error, 1)
	go func() {
		done <- l.Lead(ctx, func(ctx context.Context) {
			if n := leading.Add(1); n > 1 {
				t.Errorf("%d lead at once", n)
			}
			c.began <- struct{}{}
			<-ctx.Done()
			leading.Add(-1)
		})
	}()
	c.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return c
}

func (c candidate) leads(t *testing.T) {
	t.Helper()
	select {
	case <-c.began:
	case <-time.After(20 * time.Second):
		t.Fatal("the candidate was never elected")
	}
}

// TestLeaseIsHandedOver stops the leader: the other one leads soon after, and
// never both at once.
func TestLeaseIsHandedOver(t *testing.T) {
	client := fake.NewClientset()
	var leading atomic.Int32
	first := lease(client, "a").candidate(t, &leading)
	first.leads(t)
	second := lease(client, "b").candidate(t, &leading)
	first.stop()
	if l, err := client.CoordinationV1().Leases("bricklayer").Get(t.Context(), "bricklayer-csi", metav1.GetOptions{}); err != nil || holder(l) == "a" {
		t.Errorf("the lease was not given back: %v, %v", l, err)
	}
	second.leads(t)
	second.stop()
}

func holder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// TestLeaseIsLost takes the API server away until the lease is lost: the work
// ends, the process does not, and it leads again when the server is back.
func TestLeaseIsLost(t *testing.T) {
	client := fake.NewClientset()
	var away atomic.Bool
	client.PrependReactor("*", "leases", func(k8stesting.Action) (bool, runtime.Object, error) {
		return away.Load(), nil, apierrors.NewServiceUnavailable("away")
	})
	var leading atomic.Int32
	c := lease(client, "a").candidate(t, &leading)
	c.leads(t)
	away.Store(true)
	deadline := time.After(20 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); leading.Load() > 0; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the work goes on without a lease")
		}
	}
	away.Store(false)
	c.leads(t)
	c.stop()
}

func TestLeaseNeedsNames(t *testing.T) {
	if err := (Lease{}).Lead(t.Context(), nil); err == nil {
		t.Error("a lease without a name can be led")
	}
}
