// Package v1alpha1 owns the StoragePool resource of the API group
// bricklayer.csi: a named set of storage nodes with their brick roots, of a
// heketi, or of both.
//
// It holds the type, its defaults and its validation; it refuses to know where
// a pool comes from (a file, an API server) and what is done with it.
package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Group, version and kind of the resource.
const (
	Group      = "bricklayer.csi"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version
	Kind       = "StoragePool"
)

// DefaultAgentPort is the TCP port of a storage node's agent.
const DefaultAgentPort = "24010"

// StoragePool is a named set of storage.
type StoragePool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec StoragePoolSpec `json:"spec"`
}

// StoragePoolSpec says what belongs to the pool and how it is used.
type StoragePoolSpec struct {
	// Nodes are the storage nodes. They may be absent where there is a heketi.
	Nodes []StorageNode `json:"nodes,omitempty"`
	// Heketi makes the volumes of classes that say lvm "true".
	Heketi *HeketiEndpoint `json:"heketi,omitempty"`
	// ClientNetworks may mount the pool's volumes: IP addresses, or IPv4 networks
	// in CIDR notation; they become Gluster's auth.allow. Empty leaves the
	// volumes open to every host that reaches the storage nodes.
	ClientNetworks []string `json:"clientNetworks,omitempty"`
	// BrickMultiplex has one process serve all bricks of a storage node
	// (Gluster's cluster.brick-multiplex, a setting of the whole cluster).
	// Absent leaves the cluster's setting as it is.
	BrickMultiplex *bool `json:"brickMultiplex,omitempty"`
	// MaxOperations is how many operations may change the Gluster cluster at
	// the same time; further ones wait, and are told so. 4 where absent.
	MaxOperations int `json:"maxOperations,omitempty"`
}

// HeketiEndpoint says where a heketi is and who we are to it.
type HeketiEndpoint struct {
	// URL is its address, such as http://heketi:8080. A StorageClass that names
	// this address in resturl is served by this pool.
	URL string `json:"url"`
	// User is who we are; heketi's administrator is "admin". Absent where heketi
	// asks for no authentication.
	User string `json:"user,omitempty"`
	// KeyFile holds the user's key; it is read again for each request.
	KeyFile string `json:"keyFile,omitempty"`
	// CAFile holds the certificates, in PEM form, that sign heketi's; those of
	// the system where absent. It is read again when it changes.
	CAFile string `json:"caFile,omitempty"`
	// ServerName is the name in heketi's certificate; the URL's host where absent.
	ServerName string `json:"serverName,omitempty"`
	// ClusterIDs are the heketi clusters that belong to the pool; all where absent.
	ClusterIDs []string `json:"clusterIDs,omitempty"`
	// MaxInFlight is how many operations may run in heketi at once; further ones
	// wait, and are told so. 4 where absent; heketi itself allows 8.
	MaxInFlight int `json:"maxInFlight,omitempty"`
}

// StorageNode is a host that runs glusterd and our agent.
type StorageNode struct {
	// Name is the node's name in its agent's configuration and certificate.
	Name string `json:"name"`
	// Address is how Gluster's peers and clients know the node.
	Address string `json:"address"`
	// Zone is the failure domain; nodes without one are a zone each.
	Zone string `json:"zone,omitempty"`
	// Agent is the agent's host:port; Address and DefaultAgentPort where absent.
	Agent string `json:"agent,omitempty"`
	// Roots are the brick roots that volumes may use.
	Roots []BrickRoot `json:"roots"`
}

// BrickRoot is a directory on a storage node, the mount point of a file system
// with project quotas, below which brick directories are made.
type BrickRoot struct {
	// Name is the root's name in the agent's configuration.
	Name string `json:"name"`
	// Path is the mount point; informative here, the agent's configuration decides.
	Path string `json:"path"`
}
