// Package v1alpha1 owns the StoragePool resource of the API group
// bricklayer.csi: a named set of storage nodes with their brick roots, of a
// heketi, or of both.
//
// It holds the type, its defaults and its validation; it refuses to know where
// a pool comes from (a file, an API server) and what is done with it.
//
// A pool is judged twice: by Validate where it comes from a file, and by the
// rules in the markers of its types where it goes to an API server. Validate
// alone is in the program; that both accept and refuse the same is a test's
// business.
//
// +k8s:deepcopy-gen=package
// +groupName=bricklayer.csi
// +groupGoName=Bricklayer
package v1alpha1

//go:generate sh ../generate.sh
