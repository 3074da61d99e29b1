package provisioner

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	k8stesting "k8s.io/client-go/testing"

	"bricklayer.csi/internal/volume"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestClaimDeletedMidway deletes a claim at different moments of the making of
// its volume: nothing is left, and nothing was bound.
func TestClaimDeletedMidway(t *testing.T) {
	for name, install := range map[string]func(w *world, then func()){
		"before the create": func(w *world, then func()) {
			w.volumes.set(once(func(volume.Handle) error { then(); return nil }), nil)
		},
		"after the create": func(w *world, then func()) {
			w.volumes.set(nil, once(func(volume.Handle) error { then(); return nil }))
		},
		"after a create whose answer was lost": func(w *world, then func()) {
			w.volumes.set(nil, once(func(h volume.Handle) error { then(); return lost("create", h) }))
		},
		"while the create waits for its turn": func(w *world, then func()) {
			first := once(func(volume.Handle) error { then(); return errClaimBusy })
			w.volumes.set(func(ctx context.Context, op string, h volume.Handle) error {
				if first(ctx, op, h) == nil {
					return nil
				}
				<-ctx.Done() // or the test never ends
				return &volume.Error{Kind: volume.Busy, On: h.String(), Err: ctx.Err()}
			}, nil)
		},
		"before a create that certainly failed": func(w *world, then func()) {
			w.volumes.set(once(func(h volume.Handle) error {
				then()
				return &volume.Error{Kind: volume.Exhausted, On: h.String()}
			}), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			install(w, func() { w.remove("data") })
			w.start()
			w.claim("data")
			w.empty()
		})
	}
}

// once returns a hook that acts in the first create.
func once(act func(volume.Handle) error) func(context.Context, string, volume.Handle) error {
	first := make(chan struct{}, 1)
	first <- struct{}{}
	return func(_ context.Context, op string, h volume.Handle) error {
		if op == "create" {
			select {
			case <-first:
				return act(h)
			default:
			}
		}
		return nil
	}
}

// TestKilledMidway kills the controller when a volume is half made or made,
// deletes the claim while no controller runs, or does not, and starts another.
func TestKilledMidway(t *testing.T) {
	for name, deletes := range map[string]bool{"the claim is deleted": true, "the claim stays": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			reached := make(chan struct{})
			w.volumes.set(nil, once(func(h volume.Handle) error { close(reached); return lost("create", h) }))
			w.start(func(o *Options) { o.RetryFirst, o.RetryMost = time.Hour, time.Hour })
			w.claim("data")
			<-reached
			w.kill()
			if c := w.get("data"); !slices.Contains(c.Finalizers, testFinalizer) || c.Annotations[testAnnotation] == "" || w.count() != 1 {
				t.Fatalf("the claim is not marked: %v, %d volumes", c.ObjectMeta, w.count())
			}
			if deletes {
				w.remove("data")
			}
			w.start()
			if !deletes {
				w.bound("data")
				w.remove("data")
			}
			w.empty()
		})
	}
}

// TestCleanupIsRepeated has the deletion of an unwanted volume fail for a while.
func TestCleanupIsRepeated(t *testing.T) {
	w := newWorld(t)
	failures := 3
	w.volumes.set(func(_ context.Context, op string, h volume.Handle) error {
		w.volumes.mu.Lock()
		defer w.volumes.mu.Unlock()
		if op == "delete" && failures > 0 {
			failures--
			return lost(op, h)
		}
		return nil
	}, once(func(h volume.Handle) error { w.remove("data"); return lost("create", h) }))
	w.start()
	w.claim("data")
	w.empty()
}

// TestAPIServerAway has PersistentVolumes refused for a while: the volume is
// kept and stored later, and made once.
func TestAPIServerAway(t *testing.T) {
	w := newWorld(t)
	failures := 5
	w.PrependReactor("create", "persistentvolumes", func(k8stesting.Action) (bool, runtime.Object, error) {
		if failures == 0 { // reactors run one at a time
			return false, nil, nil
		}
		failures--
		return true, nil, apierrors.NewInternalError(context.DeadlineExceeded)
	})
	w.start()
	claim := w.claim("data")
	w.bound("data")
	w.volumes.mu.Lock()
	for h, n := range w.volumes.creates {
		if n != 1 {
			t.Errorf("%s was created %d times", h, n)
		}
	}
	w.volumes.mu.Unlock()
	if w.pv(claim) == nil {
		t.Error("there is no PersistentVolume")
	}
	w.remove("data")
	w.empty()
}

// TestForgedMark has a user name somebody else's volume on a claim and delete
// the claim: the volume stays.
func TestForgedMark(t *testing.T) {
	w := newWorld(t)
	w.start()
	victim := w.bound(w.claim("victim").Name)
	handle := w.pv(victim).Spec.CSI.VolumeHandle
	w.claim("forged", func(c *corev1.PersistentVolumeClaim) {
		c.Annotations = map[string]string{testAnnotation: handle} // nobody's claim to serve
		c.Finalizers = []string{testFinalizer}
	})
	w.remove("forged")
	w.eventually("the forged claim is gone", func() bool { return w.get("forged") == nil })
	if n := w.count(); n != 1 {
		t.Fatalf("%d volumes: the victim's is gone", n)
	}
	w.remove("victim")
	w.empty()
}

func TestHandleOf(t *testing.T) {
	g := &guard{driver: testDriver}
	const uid = "3f0c1c56-7d6b-4b3b-8f0e-0c8ae2f1a111"
	for handle, want := range map[string]bool{
		"bl1.plain.lab.pvc-" + uid:       true,
		"bl1.heketi.lab.team_pvc-" + uid: true,
		"bl1.plain.lab.xpvc-" + uid:      false,
		"bl1.plain.lab.pvc-" + uid + "x": false,
		"bl1.plain.lab.other":            false,
		"":                               false,
		"bl1.plain.lab.pvc-":             false,
		"bl1.plain.lab/../x.pvc-" + uid:  false,
		"bl9.plain.lab.pvc-" + uid:       false,
	} {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Annotations: map[string]string{testAnnotation: handle}}}
		if _, got := g.handleOf(c); got != want {
			t.Errorf("%q belongs to the claim: %t, want %t", handle, got, want)
		}
	}
	if _, got := g.handleOf(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{testAnnotation: "bl1.plain.lab.pvc-"}}}); got {
		t.Error("a claim without a UID owns a volume")
	}
}

// TestClassReplaced replaces a class, with another prefix for names, while it
// is not known whether the first volume was made.
func TestClassReplaced(t *testing.T) {
	w := newWorld(t)
	w.volumes.set(nil, once(func(h volume.Handle) error {
		ctx := context.Background()
		if err := w.StorageV1().StorageClasses().Delete(ctx, "bricks", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		c := class("bricks")
		c.Parameters["volumenameprefix"] = "new"
		if _, err := w.StorageV1().StorageClasses().Create(ctx, c, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
		return lost("create", h)
	}))
	w.start()
	w.claim("data")
	w.bound("data")
	all, err := w.backend.List(t.Context(), w.backend.Pool)
	if err != nil || len(all) != 1 {
		t.Fatalf("volumes %v, %v; want one", all, err)
	}
	w.remove("data")
	w.empty()
}
