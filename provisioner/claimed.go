package provisioner

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	"bricklayer.csi/internal/volume"
)

// Claimed returns the volumes of a driver that somebody in the cluster stands for:
// those of PersistentVolumes, and those that are being made for claims.
func Claimed(ctx context.Context, client kubernetes.Interface, driver string) (map[volume.Handle]bool, error) {
	claimed := map[volume.Handle]bool{}
	add := func(id string) {
		if h, err := volume.ParseHandle(id); err == nil {
			claimed[h] = true
		}
	}
	// Claims first: a volume that is bound meanwhile is then seen by its PersistentVolume.
	annotation := (&guard{driver: driver}).annotation()
	claims := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return client.CoreV1().PersistentVolumeClaims(metav1.NamespaceAll).List(ctx, o)
	})
	err := claims.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		if claim, ok := o.(*corev1.PersistentVolumeClaim); ok {
			add(claim.Annotations[annotation])
		}
		return nil
	})
	if err != nil {
		return nil, listError("PersistentVolumeClaims", err)
	}
	pvs := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return client.CoreV1().PersistentVolumes().List(ctx, o)
	})
	err = pvs.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		if pv, ok := o.(*corev1.PersistentVolume); ok && pv.Spec.CSI != nil && pv.Spec.CSI.Driver == driver {
			add(pv.Spec.CSI.VolumeHandle)
		}
		return nil
	})
	if err != nil {
		return nil, listError("PersistentVolumes", err)
	}
	return claimed, nil
}

func listError(what string, err error) error {
	return &volume.Error{
		Kind: volume.Unavailable, Op: "list " + what, On: "the Kubernetes cluster", Err: fmt.Errorf("which volumes are in use cannot be told: %w", err),
		Next: "see whether the API server answers and lets this user list them",
	}
}
