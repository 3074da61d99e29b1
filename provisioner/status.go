package provisioner

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"bricklayer.csi/internal/volume"
)

// patchType merges by Kubernetes' rules: conditions by their type, maps by
// key, null deletes. What a patch does not name stays as others wrote it.
const patchType = types.StrategicMergePatchType

// nodeHasNothingToDo tells kubelet not to grow a file system by itself.
const nodeHasNothingToDo = "volume.kubernetes.io/node-expansion-not-required"

type object = map[string]any

// inProgress says that a claim's volume is being grown to size. It holds only
// for the claim as it was read: a newer one may ask for something else.
func inProgress(claim *corev1.PersistentVolumeClaim, size resource.Quantity) object {
	meta := object{"annotations": object{nodeHasNothingToDo: nil}}
	if claim.ResourceVersion != "" {
		meta["resourceVersion"] = claim.ResourceVersion
	}
	return object{
		"metadata": meta,
		"status": object{
			"allocatedResources":        object{"storage": size.String()},
			"allocatedResourceStatuses": object{"storage": corev1.PersistentVolumeClaimControllerResizeInProgress},
			"conditions":                []any{condition(corev1.PersistentVolumeClaimResizing, "")},
		},
	}
}

// failed says why a volume did not grow. Where it certainly did not, the claim
// may ask for less; otherwise the attempt stays in progress.
func failed(err error) object {
	status := object{"conditions": []any{
		condition(corev1.PersistentVolumeClaimControllerResizeError, text(err)),
	}}
	if volume.KindOf(err).Definite() {
		status["allocatedResourceStatuses"] = object{"storage": corev1.PersistentVolumeClaimControllerResizeInfeasible}
	}
	return object{"status": status}
}

// finished says that the volume has that size.
func finished(size resource.Quantity) object {
	return object{
		"metadata": object{"annotations": object{nodeHasNothingToDo: "true"}},
		"status": object{
			"capacity":                  object{"storage": size.String()},
			"allocatedResourceStatuses": object{"storage": nil},
			"conditions": []any{
				without(corev1.PersistentVolumeClaimResizing),
				without(corev1.PersistentVolumeClaimControllerResizeError),
				without(corev1.PersistentVolumeClaimFileSystemResizePending),
			},
		},
	}
}

func condition(t corev1.PersistentVolumeClaimConditionType, message string) object {
	return object{"type": t, "status": corev1.ConditionTrue, "lastTransitionTime": metav1.Now(), "message": message}
}

func without(t corev1.PersistentVolumeClaimConditionType) object {
	return object{"$patch": "delete", "type": t}
}

func pvCapacity(size resource.Quantity) ([]byte, error) {
	return json.Marshal(object{"spec": object{"capacity": object{"storage": size.String()}}})
}

func (e *expander) patchStatus(ctx context.Context, claim *corev1.PersistentVolumeClaim, patch object) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = e.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, patchType, body, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("write to the status of claim %s: %w", nameOf(claim), err)
	}
	return nil
}
