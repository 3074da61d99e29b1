package provisioner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	corev1 "k8s.io/api/core/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"bricklayer.csi/internal/trace"
	"bricklayer.csi/internal/volume"
)

// Volumes are the use cases that the provisioner serves; see lifecycle.Service,
// which has them.
type Volumes interface {
	Spec(name string, size volume.SizeRange, parameters map[string]string) (volume.Spec, error)
	Create(ctx context.Context, spec volume.Spec) (volume.Volume, error)
	Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (volume.Volume, error)
	Delete(ctx context.Context, h volume.Handle) error
	Capacity(ctx context.Context, parameters map[string]string, zones []string) (volume.Capacity, error)
}

// Reasons of events, which kubernetes-csi uses too.
const (
	reasonProvisioningFailed = "ProvisioningFailed"
	reasonLeftAlone          = "ProvisioningIgnored"
	reasonCleanupFailed      = "ProvisioningCleanupFailed"
)

// provisioner makes and deletes volumes for sig-storage-lib, which calls it
// again until an outcome is final.
type provisioner struct {
	driver  string
	volumes Volumes
	claims  listers.PersistentVolumeClaimLister
	nodes   typedcorev1.NodeInterface
	guard   *guard
	events  record.EventRecorder
	log     *slog.Logger
}

var (
	_ controller.Qualifier        = (*provisioner)(nil)
	_ controller.BlockProvisioner = (*provisioner)(nil)
)

// SupportsBlock says yes, so that a claim for a block device comes to
// Provision, which tells its user more than the library would.
func (p *provisioner) SupportsBlock(context.Context) bool { return true }

// ShouldProvision refuses a claim that is being deleted, which the guard looks
// after, and one whose PersistentVolume was made but is not to be seen yet.
func (p *provisioner) ShouldProvision(_ context.Context, claim *corev1.PersistentVolumeClaim) bool {
	return claim.DeletionTimestamp == nil && !p.guard.isMade(claim.UID)
}

// Provision makes the volume of a claim, or finds the one that an earlier call
// made, and returns its PersistentVolume.
//
// The library takes Finished with an error for: there certainly is no volume.
// So whatever leaves the outcome open is InBackground, and what fails before a
// backend was asked leaves the state as it was.
func (p *provisioner) Provision(ctx context.Context, o controller.ProvisionOptions) (_ *corev1.PersistentVolume, _ controller.ProvisioningState, err error) {
	ctx, end := trace.Span(ctx, "provision", attribute.String("k8s.persistentvolumeclaim.name", nameOf(o.PVC)))
	defer func() { end(err) }()
	if err := foreign(o.PVC); err != nil {
		p.events.Event(o.PVC, corev1.EventTypeNormal, reasonLeftAlone, text(err))
		return nil, controller.ProvisioningFinished, &controller.IgnoredError{Reason: text(err)}
	}
	if err := refuse(o.PVC); err != nil { // and do not try again: these fields never change
		p.events.Event(o.PVC, corev1.EventTypeWarning, reasonProvisioningFailed, text(err))
		return nil, controller.ProvisioningFinished, &controller.IgnoredError{Reason: text(err)}
	}
	spec, err := p.spec(o)
	if err != nil {
		return nil, controller.ProvisioningNoChange, opaque(err)
	}
	spec.Near = p.zoneOf(ctx, o.SelectedNodeName)
	h := spec.Handle()
	making := p.guard.begin(ctx, o.PVC.UID)
	made := false
	defer func() { p.guard.end(o.PVC.UID, made) }()
	if err := p.guard.mark(making, o.PVC, h); errors.Is(err, errClaimGone) {
		return p.abandon(ctx, o.PVC, h)
	} else if err != nil {
		return nil, controller.ProvisioningNoChange, opaque(err)
	}
	v, err := p.volumes.Create(making, spec)
	if err != nil {
		p.log.WarnContext(ctx, "a volume was not made", "claim", nameOf(o.PVC), "volume", h.String(), "kind", volume.KindOf(err).String(), "error", err)
		return nil, stateAfter(err), opaque(err)
	}
	if p.isGone(o.PVC) {
		return p.abandon(ctx, o.PVC, h)
	}
	made = true
	p.log.InfoContext(ctx, "a volume is there", "claim", nameOf(o.PVC), "volume", h.String(), "bytes", int64(v.Size))
	return newPV(p.driver, o, v), controller.ProvisioningFinished, nil
}

// stateAfter says what the library may take for granted after a failed create.
func stateAfter(err error) controller.ProvisioningState {
	if volume.KindOf(err).Definite() {
		return controller.ProvisioningFinished
	}
	return controller.ProvisioningInBackground
}

// isGone reports whether the claim was deleted, or is being deleted, as far as
// the cache knows. A claim that goes later than this takes its
// PersistentVolume, and thereby its volume, with it.
func (p *provisioner) isGone(claim *corev1.PersistentVolumeClaim) bool {
	now, err := p.claims.PersistentVolumeClaims(claim.Namespace).Get(claim.Name)
	return err != nil || now.UID != claim.UID || now.DeletionTimestamp != nil
}

// abandon deletes what was made for a claim that nobody wants any more.
func (p *provisioner) abandon(ctx context.Context, claim *corev1.PersistentVolumeClaim, h volume.Handle) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if err := p.volumes.Delete(ctx, h); err != nil {
		return nil, controller.ProvisioningInBackground, opaque(fmt.Errorf("the claim was deleted while its volume was made: %w", err))
	}
	p.log.InfoContext(ctx, "the claim was deleted while its volume was made, and the volume with it", "claim", nameOf(claim), "volume", h.String())
	return nil, controller.ProvisioningFinished, &controller.IgnoredError{Reason: "the claim was deleted"}
}

// Delete removes the volume of a PersistentVolume. One with an ID that never
// was one of ours names nothing, so there is nothing to delete.
func (p *provisioner) Delete(ctx context.Context, pv *corev1.PersistentVolume) (err error) {
	ctx, end := trace.Span(ctx, "delete", attribute.String("k8s.persistentvolume.name", pv.Name))
	defer func() { end(err) }()
	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != p.driver {
		return &controller.IgnoredError{Reason: "its volume is not of the driver " + p.driver}
	}
	id := pv.Spec.CSI.VolumeHandle
	h, err := volume.ParseHandle(id)
	if volume.Is(err, volume.NotFound) && !volume.LooksLikeHandle(id) {
		p.log.WarnContext(ctx, "nothing to delete: the ID is none of ours", "pv", pv.Name, "reason", err)
		return nil
	}
	if err != nil {
		return opaque(err)
	}
	if err := p.volumes.Delete(ctx, h); err != nil {
		p.log.WarnContext(ctx, "a volume was not deleted", "pv", pv.Name, "volume", h.String(), "kind", volume.KindOf(err).String(), "error", err)
		return opaque(err)
	}
	p.log.InfoContext(ctx, "a volume is deleted", "pv", pv.Name, "volume", h.String())
	return nil
}
