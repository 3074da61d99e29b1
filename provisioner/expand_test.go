package provisioner

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	k8stesting "k8s.io/client-go/testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"bricklayer.csi/internal/volume"
)

// ask edits the request of the claim "data", as a user does.
func (w *world) ask(size string) {
	w.t.Helper()
	patch := []byte(`{"spec":{"resources":{"requests":{"storage":"` + size + `"}}}}`)
	if _, err := w.CoreV1().PersistentVolumeClaims(testNamespace).Patch(w.t.Context(), "data", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// size waits until the claim "data", its PersistentVolume and its volume have a
// size. The fake checks no resource versions, so a worker that saw the claim
// before it had grown may begin once more, and has to end too.
func (w *world) size(size string) *corev1.PersistentVolumeClaim {
	w.t.Helper()
	want := resource.MustParse(size)
	w.eventually("the claim has "+size, func() bool {
		c := w.get("data")
		has := storage(c.Status.Capacity)
		return has.Cmp(want) == 0 && len(c.Status.AllocatedResourceStatuses) == 0
	})
	c := w.get("data")
	if has := storage(w.pv(c).Spec.Capacity); has.Cmp(want) != 0 {
		w.t.Errorf("the PersistentVolume has %s, the claim %s", has.String(), size)
	}
	h, err := volume.ParseHandle(w.pv(c).Spec.CSI.VolumeHandle)
	if err != nil {
		w.t.Fatal(err)
	}
	if v, err := w.backend.Get(w.t.Context(), h); err != nil || int64(v.Size) != want.Value() {
		w.t.Errorf("the volume has %d bytes (%v), want %d", v.Size, err, want.Value())
	}
	return c
}

func TestExpand(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.claim("data")
	w.bound("data")
	w.ask("100Mi")
	c := w.size("100Mi")
	want := corev1.PersistentVolumeClaimStatus{
		Phase:              corev1.ClaimBound,
		Capacity:           corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("100Mi")},
		AllocatedResources: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("100Mi")},
	}
	if diff := cmp.Diff(want, c.Status, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the claim's status (-want +got):\n%s", diff)
	}
	if c.Annotations[nodeHasNothingToDo] != "true" {
		t.Error("kubelet is not told that it has nothing to do")
	}
	w.eventually("the events tell of it", func() bool {
		return strings.Contains(w.events(), "Normal Resizing PersistentVolumeClaim/data") && strings.Contains(w.events(), "Normal VolumeResizeSuccessful PersistentVolumeClaim/data")
	})
	w.remove("data")
	w.empty()
}

// TestExpandRefused asks for more than there ever will be: the claim says why,
// keeps its size, and grows once it asks for less.
func TestExpandRefused(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.claim("data")
	w.bound("data")
	w.ask("900Ti")
	w.eventually("the claim says why it does not grow", func() bool {
		s := w.get("data").Status
		return s.AllocatedResourceStatuses[corev1.ResourceStorage] == corev1.PersistentVolumeClaimControllerResizeInfeasible && hasCondition(s, corev1.PersistentVolumeClaimControllerResizeError)
	})
	w.eventually("an event says why", func() bool {
		return strings.Contains(w.events(), "Warning VolumeResizeFailed PersistentVolumeClaim/data")
	})
	w.ask("80Mi")
	c := w.size("80Mi")
	if len(c.Status.Conditions) > 0 || len(c.Status.AllocatedResourceStatuses) > 0 {
		t.Errorf("the status still tells of the failure: %+v", c.Status)
	}
	w.remove("data")
	w.empty()
}

func hasCondition(s corev1.PersistentVolumeClaimStatus, want corev1.PersistentVolumeClaimConditionType) bool {
	for _, c := range s.Conditions {
		if c.Type == want && c.Status == corev1.ConditionTrue && c.Message != "" {
			return true
		}
	}
	return false
}

// TestExpandUnknownOutcome loses the answer of a growth; the user then asks for
// less. The growth whose outcome is unknown is brought to its end.
func TestExpandUnknownOutcome(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Bool
	w.volumes.set(nil, func(_ context.Context, op string, h volume.Handle) error {
		if op == "expand" && !asked.Load() {
			return lost(op, h)
		}
		return nil
	})
	w.start()
	w.claim("data")
	w.bound("data")
	w.ask("128Mi")
	w.eventually("an event says that the outcome is unknown", func() bool {
		return strings.Contains(w.events(), "Warning VolumeResizeFailed PersistentVolumeClaim/data: expand on ")
	})
	w.ask("70Mi")
	asked.Store(true)
	w.size("128Mi")
	w.remove("data")
	w.empty()
}

// TestExpandNotWrittenDown kills the controller after a volume grew and before
// its claim says so; another one writes it down.
func TestExpandNotWrittenDown(t *testing.T) {
	w := newWorld(t)
	var refuse atomic.Bool
	w.PrependReactor("patch", "persistentvolumes", func(a k8stesting.Action) (bool, runtime.Object, error) {
		if p, ok := a.(k8stesting.PatchAction); ok && refuse.Load() && strings.Contains(string(p.GetPatch()), "capacity") {
			return true, nil, apierrors.NewInternalError(context.DeadlineExceeded)
		}
		return false, nil, nil
	})
	w.start()
	w.claim("data")
	w.bound("data")
	refuse.Store(true)
	w.ask("100Mi")
	w.eventually("the growth is in progress", func() bool {
		return w.get("data").Status.AllocatedResourceStatuses[corev1.ResourceStorage] == corev1.PersistentVolumeClaimControllerResizeInProgress
	})
	w.kill()
	refuse.Store(false)
	w.start()
	w.size("100Mi")
	w.remove("data")
	w.empty()
}

// TestExpandLeftToResizer has growing switched off.
func TestExpandLeftToResizer(t *testing.T) {
	w := newWorld(t)
	w.start(func(o *Options) { o.Expand = false })
	w.claim("data")
	w.bound("data")
	w.ask("100Mi")
	w.claim("later")
	w.bound("later")
	if s := w.get("data").Status; len(s.AllocatedResources) > 0 || len(s.Conditions) > 0 {
		t.Errorf("the claim was touched: %+v", s)
	}
	w.remove("data")
	w.remove("later")
	w.empty()
}

func TestTarget(t *testing.T) {
	quantityOf := func(s string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(s)}
	}
	for name, test := range map[string]struct {
		earlier string
		status  corev1.ClaimResourceStatus
		want    string
	}{
		"first":                    {"", "", "2Gi"},
		"after a success":          {"1Gi", "", "2Gi"},
		"after a certain failure":  {"8Gi", corev1.PersistentVolumeClaimControllerResizeInfeasible, "2Gi"},
		"after an unknown outcome": {"8Gi", corev1.PersistentVolumeClaimControllerResizeInProgress, "8Gi"},
		"in progress, no size":     {"", corev1.PersistentVolumeClaimControllerResizeInProgress, "2Gi"},
	} {
		c := &corev1.PersistentVolumeClaim{}
		c.Spec.Resources.Requests = quantityOf("2Gi")
		if test.earlier != "" {
			c.Status.AllocatedResources = quantityOf(test.earlier)
		}
		c.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: test.status}
		if got := target(c); got.String() != test.want {
			t.Errorf("%s: %s, want %s", name, got.String(), test.want)
		}
	}
}
