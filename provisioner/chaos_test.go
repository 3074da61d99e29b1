package provisioner

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"

	"bricklayer.csi/internal/volume"
)

// TestChaos makes and deletes claims at random while answers are lost,
// the API server refuses writes and the controller is killed. In the end every
// claim that was not deleted is bound, each to one volume, and when they go
// nothing is left.
func TestChaos(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			chaos(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func chaos(t *testing.T, r *rand.Rand) {
	w := newWorld(t)
	calm := make(chan struct{}) // closed when the faults end
	fault := func(oneIn int) bool {
		select {
		case <-calm:
			return false
		default:
			return rand.IntN(oneIn) == 0 // by many goroutines, so not by r
		}
	}
	lose := func(_ context.Context, op string, h volume.Handle) error {
		if fault(3) {
			return lost(op, h)
		}
		return nil
	}
	w.volumes.set(lose, lose)
	for _, resource := range []string{"persistentvolumes", "persistentvolumeclaims"} {
		for _, verb := range []string{"create", "patch", "delete"} {
			w.PrependReactor(verb, resource, func(k8stesting.Action) (bool, runtime.Object, error) {
				if resource == "persistentvolumeclaims" && verb != "patch" {
					return false, nil, nil // the test's own calls
				}
				return fault(5), nil, apierrors.NewServiceUnavailable("away")
			})
		}
	}
	w.start()
	alive := map[string]bool{}
	pause := time.NewTicker(3 * time.Millisecond)
	defer pause.Stop()
	for step := range 100 {
		switch n := r.IntN(20); {
		case n < 6 && len(alive) < 12:
			name := fmt.Sprintf("c%d", step)
			w.claim(name)
			alive[name] = true
		case n < 10:
			for name := range alive {
				w.remove(name)
				delete(alive, name)
				break
			}
		case n == 10:
			w.kill()
			w.start()
		default:
			<-pause.C
		}
	}
	close(calm)
	for name := range alive {
		w.bound(name)
	}
	w.eventually("there is one volume and one PersistentVolume a claim", func() bool {
		pvs, err := w.CoreV1().PersistentVolumes().List(context.Background(), metav1.ListOptions{})
		return err == nil && len(pvs.Items) == len(alive) && w.count() == len(alive)
	})
	for name := range alive {
		w.remove(name)
	}
	w.empty()
}
