package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Types of a pool's conditions.
const (
	// ConditionReady is True where volumes can be made in the pool now.
	ConditionReady = "Ready"
	// ConditionDegraded is True where a part of the pool is not as it must be.
	ConditionDegraded = "Degraded"
	// ConditionQuotaEnforced is False where a size is not held to: a brick root
	// without project quotas, or a brick whose quota is not in force.
	ConditionQuotaEnforced = "QuotaEnforced"
	// ConditionTimeInSync is False where a node's clock is off the others'.
	ConditionTimeInSync = "TimeInSync"
	// ConditionCapacityLow is True where little is left to promise.
	ConditionCapacityLow = "CapacityLow"
	// ConditionHeketiReady is False where the pool's heketi cannot make volumes;
	// it is absent where the pool names none.
	ConditionHeketiReady = "HeketiReady"
	// ConditionClientsRestricted is False where every host that reaches the
	// storage nodes can mount the volumes.
	ConditionClientsRestricted = "ClientsRestricted"
)

// Finalizer keeps a pool while volumes live on it.
const Finalizer = Group + "/volumes"

// StoragePoolStatus is what the controller saw of a pool.
type StoragePoolStatus struct {
	// ObservedGeneration is the generation of the spec that this is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions say how the pool is: Ready, Degraded, QuotaEnforced,
	// TimeInSync, CapacityLow, HeketiReady, ClientsRestricted.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Capacity is that of all brick roots that can be used now.
	//
	// +optional
	Capacity *Capacity `json:"capacity,omitempty"`
	// HeketiCapacity is that of heketi's devices that are online.
	//
	// +optional
	HeketiCapacity *Capacity `json:"heketiCapacity,omitempty"`
	// Volumes counts the volumes of the pool.
	//
	// +optional
	Volumes *VolumeCounts `json:"volumes,omitempty"`
	// InUse names the volumes on each brick root that has some, by NODE/ROOT; a
	// root that is in it, and its node, cannot be taken out of the pool.
	//
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MaxProperties=8000
	InUse map[string]string `json:"inUse,omitempty"`
	// Nodes are the storage nodes as they were seen.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	Nodes []NodeStatus `json:"nodes,omitempty"`
}

// Capacity is space, in mebibytes rounded down.
type Capacity struct {
	// Raw is the size of the file systems or devices.
	Raw resource.Quantity `json:"raw"`
	// Committed is what was promised to volumes.
	Committed resource.Quantity `json:"committed"`
	// Free is what can still be promised, bricks of all copies counted.
	Free resource.Quantity `json:"free"`
}

// VolumeCounts counts volumes by kind.
type VolumeCounts struct {
	// Plain counts volumes whose bricks are directories (lvm "false").
	Plain int32 `json:"plain"`
	// LVM counts volumes of this pool that heketi made (lvm "true").
	LVM int32 `json:"lvm"`
	// Names are some of them, to tell whose they are: the first in the order of
	// their names.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Names []string `json:"names,omitempty"`
}

// NodeStatus is a storage node as it was seen.
type NodeStatus struct {
	// Name is the node's name.
	//
	// +kubebuilder:validation:MaxLength=40
	Name string `json:"name"`
	// Reachable is true where its agent answered.
	Reachable bool `json:"reachable"`
	// AgentVersion and GlusterVersion are those of the programs there.
	//
	// +optional
	AgentVersion string `json:"agentVersion,omitempty"`
	// +optional
	GlusterVersion string `json:"glusterVersion,omitempty"`
	// Problems say what is wrong with the node.
	//
	// +optional
	// +listType=atomic
	Problems []string `json:"problems,omitempty"`
	// Roots are its brick roots.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Roots []RootStatus `json:"roots,omitempty"`
}

// RootStatus is a brick root as it was seen.
type RootStatus struct {
	// Name is the root's name.
	//
	// +kubebuilder:validation:MaxLength=40
	Name string `json:"name"`
	// Problem says why it cannot be used; empty where it can.
	//
	// +optional
	Problem string `json:"problem,omitempty"`
	// Capacity is absent where the root could not be looked at.
	//
	// +optional
	Capacity *Capacity `json:"capacity,omitempty"`
	// Bricks is how many brick directories it has.
	//
	// +optional
	Bricks int32 `json:"bricks,omitempty"`
}
