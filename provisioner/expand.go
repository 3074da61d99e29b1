package provisioner

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"bricklayer.csi/internal/volume"
)

// Reasons of events about growing, those of the standard resizer.
const (
	reasonResizing      = "Resizing"
	reasonResizeFailed  = "VolumeResizeFailed"
	reasonResizeSuccess = "VolumeResizeSuccessful"
)

// expander grows a volume when its claim asks for more than it has. It writes
// the same fields as the standard resizer, so that one can take over from the
// other; clients show the new size at once, so no node has anything to do.
type expander struct {
	client  kubernetes.Interface
	driver  string
	volumes Volumes
	claims  listers.PersistentVolumeClaimLister
	pvs     listers.PersistentVolumeLister
	events  record.EventRecorder
	log     *slog.Logger
	timeout time.Duration
}

// storage returns the storage in a list of resources.
func storage(l corev1.ResourceList) resource.Quantity { return l[corev1.ResourceStorage] }

// concerns reports whether a claim is bound and asks for more than it has. An
// administrator's class decides whether it may (allowVolumeExpansion); the API
// server refuses the request otherwise.
func (*expander) concerns(claim *corev1.PersistentVolumeClaim) bool {
	wants, has := storage(claim.Spec.Resources.Requests), storage(claim.Status.Capacity)
	return claim.Spec.VolumeName != "" && claim.Status.Phase == corev1.ClaimBound && wants.Cmp(has) > 0
}

// sync grows the volume of one claim, if it has to.
func (e *expander) sync(ctx context.Context, namespace, claimName string) error {
	claim, err := e.claims.PersistentVolumeClaims(namespace).Get(claimName)
	if apierrors.IsNotFound(err) || err == nil && !e.concerns(claim) {
		return nil
	}
	if err != nil {
		return err
	}
	pv, err := e.pvs.Get(claim.Spec.VolumeName)
	if err != nil {
		return fmt.Errorf("find the PersistentVolume of %s: %w", nameOf(claim), err)
	}
	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != e.driver || pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != claim.UID {
		return nil // not ours
	}
	size := target(claim)
	if has := storage(pv.Spec.Capacity); has.Cmp(size) >= 0 {
		return e.finish(ctx, claim, pv, has) // it grew, and that was not written down
	}
	return e.grow(ctx, claim, pv, size)
}

// target returns the size to grow to. While it is not known what became of an
// earlier attempt, that one is brought to its end first: its size may be
// larger than what the claim asks for by now, and no volume shrinks.
func target(claim *corev1.PersistentVolumeClaim) resource.Quantity {
	wants, earlier := storage(claim.Spec.Resources.Requests), storage(claim.Status.AllocatedResources)
	if claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage] == corev1.PersistentVolumeClaimControllerResizeInProgress && !earlier.IsZero() {
		return earlier
	}
	return wants
}

func (e *expander) grow(ctx context.Context, claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, size resource.Quantity) error {
	if err := e.patchStatus(ctx, claim, inProgress(claim, size)); err != nil {
		return err
	}
	e.events.Eventf(claim, corev1.EventTypeNormal, reasonResizing, "Growing volume %s to %s", pv.Name, size.String())
	started := time.Now()
	v, err := e.expand(ctx, pv.Spec.CSI.VolumeHandle, size)
	if err != nil {
		e.events.Event(claim, corev1.EventTypeWarning, reasonResizeFailed, text(err))
		if patchErr := e.patchStatus(ctx, claim, failed(err)); patchErr != nil {
			e.log.WarnContext(ctx, "a failed growth could not be written to its claim", "claim", nameOf(claim), "error", patchErr)
		}
		return fmt.Errorf("grow the volume of %s to %s: %w", nameOf(claim), size.String(), err)
	}
	e.log.InfoContext(ctx, "a volume has grown", "claim", nameOf(claim), "volume", v.Handle.String(), "bytes", int64(v.Size), "took", time.Since(started))
	return e.finish(ctx, claim, pv, quantity(v.Size))
}

// expand makes the one call.
func (e *expander) expand(ctx context.Context, id string, size resource.Quantity) (volume.Volume, error) {
	h, err := volume.ParseHandle(id)
	if err != nil {
		return volume.Volume{}, err
	}
	r, err := volume.NewSizeRange(size.Value(), 0)
	if err != nil {
		return volume.Volume{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	return e.volumes.Expand(ctx, h, r)
}

// finish writes the new size to the PersistentVolume, then to the claim. In
// this order a size that only one of the two has is found again by sync.
func (e *expander) finish(ctx context.Context, claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, size resource.Quantity) error {
	if has := storage(pv.Spec.Capacity); has.Cmp(size) < 0 {
		body, err := pvCapacity(size)
		if err != nil {
			return err
		}
		if _, err := e.client.CoreV1().PersistentVolumes().Patch(ctx, pv.Name, patchType, body, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("write the new size to PersistentVolume %s: %w", pv.Name, err)
		}
	}
	if err := e.patchStatus(ctx, claim, finished(size)); err != nil {
		return err
	}
	e.events.Eventf(claim, corev1.EventTypeNormal, reasonResizeSuccess, "Volume %s has %s", pv.Name, size.String())
	return nil
}
