package provisioner

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"bricklayer.csi/internal/volume"
)

// gidAnnotation has kubelet give a pod the volume's group, so that nobody has
// to change the owner of every file.
const gidAnnotation = "pv.beta.kubernetes.io/gid"

// newPV describes a volume to Kubernetes. The library adds the claim, the
// class, the finalizer and who made it.
func newPV(driver string, o controller.ProvisionOptions, v volume.Volume) *corev1.PersistentVolume {
	mode := corev1.PersistentVolumeFilesystem
	reclaim := corev1.PersistentVolumeReclaimDelete
	if r := o.StorageClass.ReclaimPolicy; r != nil {
		reclaim = *r
	}
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: quantity(v.Size)},
			AccessModes:                   slices.Clone(o.PVC.Spec.AccessModes),
			PersistentVolumeReclaimPolicy: reclaim,
			MountOptions:                  slices.Clone(o.StorageClass.MountOptions),
			VolumeMode:                    &mode,
			NodeAffinity:                  affinity(o.StorageClass.AllowedTopologies),
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver:           driver,
				VolumeHandle:     v.Handle.String(),
				VolumeAttributes: v.Context(),
			}},
		},
	}
	if v.GID > 0 {
		pv.Annotations = map[string]string{gidAnnotation: strconv.Itoa(v.GID)}
	}
	return pv
}

// quantity returns a size as Kubernetes writes it.
func quantity(s volume.Size) resource.Quantity {
	return *resource.NewQuantity(int64(s), resource.BinarySI)
}

// affinity keeps the pods of a volume where its class allows them. Every node
// reaches every volume, so this is the administrator's wish and no need of ours.
func affinity(allowed []corev1.TopologySelectorTerm) *corev1.VolumeNodeAffinity {
	var terms []corev1.NodeSelectorTerm
	for _, t := range allowed {
		var term corev1.NodeSelectorTerm
		for _, e := range t.MatchLabelExpressions {
			term.MatchExpressions = append(term.MatchExpressions, corev1.NodeSelectorRequirement{
				Key: e.Key, Operator: corev1.NodeSelectorOpIn, Values: slices.Clone(e.Values),
			})
		}
		if len(term.MatchExpressions) > 0 {
			terms = append(terms, term)
		}
	}
	if len(terms) == 0 {
		return nil
	}
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: terms}}
}
