// Package provisioner owns Kubernetes' side of a volume's life: a claim of our
// StorageClasses becomes a PersistentVolume, grows when its claim does, and goes
// when its reclaim policy says so. It reads a claim, makes one call of
// internal/lifecycle, and converts the answer, as package csi does for CSI. The
// queues, the retries and the binding are those of sig-storage-lib and of
// Kubernetes.
//
// It refuses to know how a volume is made, what a backend is, and what CSI's
// services are; a PersistentVolume from here and one from the standard
// provisioner over our CSI service are the same, but for the zones of a class,
// which CSI has no true words for (docs/decisions/0012-topology-and-capacity.md).
package provisioner
