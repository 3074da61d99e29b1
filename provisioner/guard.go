package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"bricklayer.csi/internal/volume"
)

// guard sees to it that a claim that is deleted while its volume is being made
// leaves nothing, whenever which process is killed. Before the first call for a
// volume the claim gets a finalizer and the volume's handle. Both go once the
// claim is bound: from then on the PersistentVolume stands for the volume. A
// claim that is deleted before that waits until its volume is gone.
//
// The library keeps such claims in memory alone, which a kill empties.
type guard struct {
	client  kubernetes.Interface
	driver  string
	volumes Volumes
	claims  listers.PersistentVolumeClaimLister
	events  record.EventRecorder
	log     *slog.Logger
	timeout time.Duration

	mu sync.Mutex
	// working holds the claims whose volumes are being made, with what ends that.
	working map[types.UID]context.CancelFunc
	// made holds claims whose PersistentVolume was made but perhaps not stored
	// yet, with the time after which we stop to believe that it will be.
	made map[types.UID]time.Time
}

// madeFor is how long a PersistentVolume may take to be stored and seen: longer
// than the library's pauses between its attempts.
const madeFor = 2 * time.Minute

// errClaimGone says that a claim does not exist any more.
var errClaimGone = errors.New("the claim does not exist any more")

// errClaimBusy says that a claim's volume is being made or stored at present.
var errClaimBusy = errors.New("its volume is being made or stored at present")

func (g *guard) finalizer() string  { return g.driver + "/provisioning" }
func (g *guard) annotation() string { return g.driver + "/volume-handle" }

// begin says that a volume is being made for the claim, and returns the context
// in which: it ends when nobody wants the volume any more.
func (g *guard) begin(ctx context.Context, uid types.UID) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.working[uid] = cancel
	return ctx
}

// end says that nothing is being made any more, and whether a
// PersistentVolume is on its way.
func (g *guard) end(uid types.UID, made bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.working[uid]()
	delete(g.working, uid)
	if made {
		g.made[uid] = time.Now().Add(madeFor)
	}
}

// seen says that a PersistentVolume of that name is stored.
func (g *guard) seen(pv string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.made, types.UID(strings.TrimPrefix(pv, pvPrefix)))
}

// isMade reports whether a PersistentVolume is on its way to be stored.
func (g *guard) isMade(uid types.UID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	until, ok := g.made[uid]
	if ok && time.Now().After(until) {
		delete(g.made, uid)
		ok = false
	}
	return ok
}

// interrupt ends the making of a claim's volume, and reports whether it was
// being made.
func (g *guard) interrupt(uid types.UID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	cancel, ok := g.working[uid]
	if ok {
		cancel()
	}
	return ok
}

// pvPrefix opens the names of PersistentVolumes; the claim's UID follows.
const pvPrefix = "pvc-"

// mark puts the finalizer and the handle onto a claim, before anything is made
// for it. A volume that was begun under another handle, because the class was
// replaced since, is deleted first.
func (g *guard) mark(ctx context.Context, claim *corev1.PersistentVolumeClaim, h volume.Handle) error {
	old := claim.Annotations[g.annotation()]
	has := slices.Contains(claim.Finalizers, g.finalizer())
	if has && old == h.String() {
		return nil
	}
	if former, ok := g.handleOf(claim); has && ok {
		if err := g.volumes.Delete(ctx, former); err != nil {
			return fmt.Errorf("delete what was begun for the claim by its former class: %w", err)
		}
	}
	return g.patch(ctx, claim, map[string]any{
		"uid":         claim.UID,
		"finalizers":  []string{g.finalizer()},
		"annotations": map[string]any{g.annotation(): h.String()},
	})
}

// unmark takes finalizer and handle off again.
func (g *guard) unmark(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	err := g.patch(ctx, claim, map[string]any{
		"uid":                                 claim.UID,
		"$deleteFromPrimitiveList/finalizers": []string{g.finalizer()},
		"annotations":                         map[string]any{g.annotation(): nil},
	})
	if errors.Is(err, errClaimGone) {
		return nil
	}
	return err
}

// patch changes a claim's metadata. Its UID is part of the patch, so that a new
// claim of the same name is left alone.
func (g *guard) patch(ctx context.Context, claim *corev1.PersistentVolumeClaim, meta map[string]any) error {
	body, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return err
	}
	api := g.client.CoreV1().PersistentVolumeClaims(claim.Namespace)
	_, err = api.Patch(ctx, claim.Name, patchType, body, metav1.PatchOptions{})
	if err == nil {
		return nil
	}
	if apierrors.IsConflict(err) || apierrors.IsInvalid(err) || apierrors.IsNotFound(err) {
		now, getErr := api.Get(ctx, claim.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(getErr) || getErr == nil && now.UID != claim.UID {
			return errClaimGone
		}
	}
	return fmt.Errorf("mark the claim %s: %w", nameOf(claim), err)
}

// handleOf returns the handle that a claim carries. Whoever may edit the claim
// may edit that too, so it counts only where its volume's name ends in the
// claim's UID, which nobody can choose.
func (g *guard) handleOf(claim *corev1.PersistentVolumeClaim) (volume.Handle, bool) {
	h, err := volume.ParseHandle(claim.Annotations[g.annotation()])
	request := pvPrefix + string(claim.UID)
	if err != nil || claim.UID == "" || h.Name != request && !strings.HasSuffix(h.Name, "_"+request) {
		return volume.Handle{}, false
	}
	return h, true
}

// concerns reports whether sync has something to do for a claim.
func (g *guard) concerns(claim *corev1.PersistentVolumeClaim) bool {
	return slices.Contains(claim.Finalizers, g.finalizer()) && (claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil)
}

// sync lets a claim go that is bound, or that is being deleted and whose
// volume is gone.
func (g *guard) sync(ctx context.Context, namespace, claimName string) error {
	claim, err := g.claims.PersistentVolumeClaims(namespace).Get(claimName)
	if apierrors.IsNotFound(err) || err == nil && !g.concerns(claim) {
		return nil
	}
	if err != nil {
		return err
	}
	if claim.Spec.VolumeName == "" {
		if err := g.clean(ctx, claim); err != nil {
			return err
		}
	}
	return g.unmark(ctx, claim)
}

// clean deletes the volume of a claim that is being deleted, unless a
// PersistentVolume stands for it.
func (g *guard) clean(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if g.interrupt(claim.UID) || g.isMade(claim.UID) {
		return errClaimBusy
	}
	_, err := g.client.CoreV1().PersistentVolumes().Get(ctx, pvPrefix+string(claim.UID), metav1.GetOptions{})
	if err == nil {
		return nil // it is released with the claim, and its reclaim policy decides
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for the PersistentVolume of %s: %w", nameOf(claim), err)
	}
	h, ok := g.handleOf(claim)
	if !ok {
		g.log.WarnContext(ctx, "a claim was deleted whose mark names no volume of its own: nothing is deleted for it",
			"claim", nameOf(claim), "mark", claim.Annotations[g.annotation()])
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	if err := g.volumes.Delete(ctx, h); err != nil {
		if !volume.Is(err, volume.Busy) {
			g.events.Event(claim, corev1.EventTypeWarning, reasonCleanupFailed, text(fmt.Errorf("the claim is kept until its volume is deleted: %w", err)))
		}
		return fmt.Errorf("delete %s, begun for the deleted claim %s: %w", h, nameOf(claim), err)
	}
	g.log.InfoContext(ctx, "a claim was deleted before it was bound, and its volume with it", "claim", nameOf(claim), "volume", h.String())
	return nil
}
