package provisioner

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// fsTypeParameter is the parameter of a class that csi-provisioner makes the
// file system type of a volume.
const fsTypeParameter = "csi.storage.k8s.io/fstype"

// maxText bounds an error's text in an event, in bytes: more is refused by
// some API servers, and read by nobody.
const maxText = 1024

// text returns an error's text for an event.
func text(err error) string {
	s := strings.ToValidUTF8(err.Error(), "?")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText-3], "") + "..."
	}
	return s
}

// opaque returns an error with the same text and nothing behind it. The library
// takes any gRPC status that it finds in an error's chain, such as an agent's
// answer, for the outcome of the whole call: InvalidArgument would make it
// forget a volume that may be there.
func opaque(err error) error { return errors.New(text(err)) }

// nameOf returns NAMESPACE/NAME of a claim, for logs and errors.
func nameOf(claim *corev1.PersistentVolumeClaim) string { return claim.Namespace + "/" + claim.Name }

// foreign says why a claim is somebody else's to serve, or nil. Volume
// populators make a claim of their own, without a source, for us to serve.
func foreign(claim *corev1.PersistentVolumeClaim) error {
	var kind, source string
	switch s := claim.Spec; {
	case s.DataSourceRef != nil:
		kind, source = s.DataSourceRef.Kind, s.DataSourceRef.Name
	case s.DataSource != nil:
		kind, source = s.DataSource.Kind, s.DataSource.Name
	default:
		return nil
	}
	return fmt.Errorf("the claim is left alone: it asks for the data of %s %q, and this provisioner makes empty volumes; "+
		"a volume populator or csi-provisioner has to serve it, or make a claim without spec.dataSource", kind, source)
}

// refuse says why no claim with these fields can ever be served, or nil.
func refuse(claim *corev1.PersistentVolumeClaim) error {
	if m := claim.Spec.VolumeMode; m != nil && *m != corev1.PersistentVolumeFilesystem {
		return volume.NewFieldError("spec.volumeMode", string(*m), "Filesystem: a Gluster volume is a file system, no block device")
	}
	if claim.Spec.Selector != nil {
		return volume.NewFieldError("spec.selector", "present",
			"nothing: a new volume has no labels to select by; name an existing one in spec.volumeName")
	}
	return nil
}

// spec reads what a claim and its class ask for. Errors say which of the two
// has to change.
func (p *provisioner) spec(o controller.ProvisionOptions) (volume.Spec, error) {
	if c := o.PVC.Spec.VolumeAttributesClassName; c != nil && *c != "" {
		return volume.Spec{}, volume.NewFieldError("spec.volumeAttributesClassName", *c, "nothing: this driver modifies no volumes")
	}
	required, limit := o.PVC.Spec.Resources.Requests[corev1.ResourceStorage], o.PVC.Spec.Resources.Limits[corev1.ResourceStorage]
	size, err := volume.NewSizeRange(required.Value(), limit.Value())
	if err != nil {
		return volume.Spec{}, fmt.Errorf("spec.resources of the claim: %w", err)
	}
	return classSpec(p.volumes, o.StorageClass, o.PVName, size)
}

// classSpec reads what a class asks for.
func classSpec(volumes Volumes, class *storagev1.StorageClass, name string, size volume.SizeRange) (volume.Spec, error) {
	in := "StorageClass " + class.Name
	if t := class.Parameters[fsTypeParameter]; t != "" && t != "glusterfs" {
		return volume.Spec{}, fmt.Errorf("%s: %w", in, volume.NewFieldError("parameters."+fsTypeParameter, t, "nothing, or glusterfs"))
	}
	if _, err := mount.ParseFlags(class.MountOptions); err != nil {
		return volume.Spec{}, fmt.Errorf("mountOptions of %s: %w", in, err)
	}
	spec, err := volumes.Spec(name, size, class.Parameters)
	if err != nil {
		return volume.Spec{}, fmt.Errorf("%s: %w", in, err)
	}
	if spec.Parameters, err = spec.Parameters.Within(zonesOf(class.AllowedTopologies)); err != nil {
		return volume.Spec{}, fmt.Errorf("allowedTopologies of %s: %w", in, err)
	}
	return spec, nil
}
