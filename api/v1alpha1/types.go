package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultAgentPort is the TCP port of a storage node's agent.
const DefaultAgentPort = "24010"

// StoragePool is a named set of storage.
//
// +genclient
// +genclient:nonNamespaced
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=storagepools,singular=storagepool,shortName=blpool,categories=bricklayer;storage
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Degraded",type=string,JSONPath=`.status.conditions[?(@.type=="Degraded")].status`
// +kubebuilder:printcolumn:name="Raw",type=string,JSONPath=`.status.capacity.raw`
// +kubebuilder:printcolumn:name="Committed",type=string,JSONPath=`.status.capacity.committed`
// +kubebuilder:printcolumn:name="Free",type=string,JSONPath=`.status.capacity.free`
// +kubebuilder:printcolumn:name="Plain",type=integer,JSONPath=`.status.volumes.plain`
// +kubebuilder:printcolumn:name="LVM",type=integer,JSONPath=`.status.volumes.lvm`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Why",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Degraded")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",message="metadata.name must be 1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit"
type StoragePool struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// Spec says what belongs to the pool and how it is used.
	Spec StoragePoolSpec `json:"spec"`
	// Status is what the controller saw last. It is written by no one else.
	// +optional
	Status StoragePoolStatus `json:"status,omitempty,omitzero"`
}

// StoragePoolList is a list of pools.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
type StoragePoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []StoragePool `json:"items"`
}

// StoragePoolSpec says what belongs to the pool and how it is used.
//
// +kubebuilder:validation:XValidation:rule="has(self.heketi) || (has(self.nodes) && self.nodes.size() > 0)",fieldPath=".nodes",message="must have at least one node where there is no heketi"
type StoragePoolSpec struct {
	// Nodes are the storage nodes. They may be absent where there is a heketi.
	// Their addresses differ; among more than 100 that is for the controller to
	// see, an API server has no time for it.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:XValidation:rule="size(self) > 100 || [self.map(n, n.address)].all(a, a.all(x, a.indexOf(x) == a.lastIndexOf(x)))",message="must give each node an address that no other node has"
	Nodes []StorageNode `json:"nodes,omitempty"`
	// Heketi makes the volumes of classes that say lvm "true".
	//
	// +optional
	Heketi *HeketiEndpoint `json:"heketi,omitempty"`
	// ClientNetworks may mount the pool's volumes: IP addresses, or IPv4 networks
	// in CIDR notation; they become Gluster's auth.allow. Empty leaves the
	// volumes open to every host that reaches the storage nodes.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) ? (cidr(self).ip().family() == 4 && cidr(self) == cidr(self).masked()) : isIP(self)",message="must be an IP address, or an IPv4 network such as 10.0.0.0/8 without host bits"
	ClientNetworks []string `json:"clientNetworks,omitempty"`
	// BrickMultiplex has one process serve all bricks of a storage node
	// (Gluster's cluster.brick-multiplex, a setting of the whole cluster).
	// Absent leaves the cluster's setting as it is.
	//
	// +optional
	BrickMultiplex *bool `json:"brickMultiplex,omitempty"`
	// ManagePeers has the controller probe nodes into Gluster's trusted pool that
	// are not in it: new ones, without peers and volumes. It never detaches a node.
	//
	// +optional
	ManagePeers bool `json:"managePeers,omitempty"`
	// InitRoots has the controller make brick roots of those that are empty file
	// systems: XFS with project quotas, mounted at the root's path, with nothing
	// in them. Anything else is left as it is.
	//
	// +optional
	InitRoots bool `json:"initRoots,omitempty"`
	// OvercommitPercent is how much of a brick root's size may be promised to
	// volumes, in percent. What the node's agent is configured to where absent or 0;
	// that is 100 if it says nothing.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	OvercommitPercent int `json:"overcommitPercent,omitempty"`
	// TrashEntriesPerSecond bounds how fast the files of deleted volumes are removed
	// from a brick root, in files and directories a second. What the node's agent is
	// configured to where absent or 0; that is 1000 if it says nothing.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	TrashEntriesPerSecond int `json:"trashEntriesPerSecond,omitempty"`
	// Defaults are parameters of volumes that a StorageClass of this pool may leave
	// out: those of the class that say what a volume is, such as volumetype or
	// volumeoptions. What the class says wins. Which keys and values there may be
	// is for the controller to see.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 40 && size(self[k]) <= 4096)",message="must have keys of at most 40 characters and values of at most 4096"
	Defaults map[string]string `json:"defaults,omitempty"`
	// MaxOperations is how many operations may change the Gluster cluster at
	// the same time; further ones wait, and are told so. It is fewer while they
	// fail or take much longer than they did. 4 where absent or 0.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=64
	MaxOperations int `json:"maxOperations,omitempty"`
	// Guard says what keeps storage nodes from harm; what is absent has a default.
	//
	// +optional
	Guard *Guard `json:"guard,omitempty"`
}

// Guard says when a storage node takes no further brick, and when the pool's
// storage is left alone for a while.
type Guard struct {
	// MemoryReserve is the memory of a storage node that stays available: a node
	// that would have less takes no brick. At most 1Ti; a twentieth of the node's
	// memory, 256Mi at least, where absent or 0.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? (isQuantity(self) && !quantity(self).isLessThan(quantity('0')) && !quantity(self).isGreaterThan(quantity('1Ti'))) : (self >= 0 && self <= 1099511627776)",message="must be 0 to 1Ti, such as 256Mi"
	MemoryReserve *resource.Quantity `json:"memoryReserve,omitempty"`
	// MemoryPerBrick is the memory that a brick is expected to take, at most 1Ti.
	// 24Mi where absent or 0, and 8Mi where brickMultiplex is true.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? (isQuantity(self) && !quantity(self).isLessThan(quantity('0')) && !quantity(self).isGreaterThan(quantity('1Ti'))) : (self >= 0 && self <= 1099511627776)",message="must be 0 to 1Ti, such as 256Mi"
	MemoryPerBrick *resource.Quantity `json:"memoryPerBrick,omitempty"`
	// MaxPressure is the share of the last ten seconds, in percent, in which some
	// task of a storage node may have waited for memory: one beyond it takes no
	// brick. 40 where absent or 0; 100 leaves it out of account.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxPressure int `json:"maxPressure,omitempty"`
	// MaxBricksPerNode is how many bricks a storage node may have. Any number
	// where absent or 0.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MaxBricksPerNode int `json:"maxBricksPerNode,omitempty"`
	// BreakerFailures is how many operations in a row must fail, for a part that
	// does not answer, before volumes are neither made nor grown for BreakerPauseSeconds.
	// 5 where absent or 0.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	BreakerFailures int `json:"breakerFailures,omitempty"`
	// BreakerPauseSeconds is how long that lasts before one operation may try, in
	// seconds. 30 where absent or 0.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	BreakerPauseSeconds int `json:"breakerPauseSeconds,omitempty"`
}

// HeketiEndpoint says where a heketi is and who we are to it.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.keyFile) && has(self.keySecret))",fieldPath=".keySecret",message="must not stand beside keyFile: a key has one place"
// +kubebuilder:validation:XValidation:rule="(has(self.user) && size(self.user) > 0) == ((has(self.keyFile) && size(self.keyFile) > 0) || has(self.keySecret))",fieldPath=".user",message="must come with keyFile or keySecret, or all of them be left out"
// +kubebuilder:validation:XValidation:rule="self.url.startsWith('https:') || ((!has(self.caFile) || size(self.caFile) == 0) && (!has(self.serverName) || size(self.serverName) == 0))",fieldPath=".url",message="must be an https address where caFile or serverName is given"
type HeketiEndpoint struct {
	// URL is its address, such as http://heketi:8080. A StorageClass that names
	// this address in resturl is served by this pool.
	//
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://([A-Za-z0-9._-]+|\\\\[[0-9A-Fa-f:.]+\\\\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[A-Za-z0-9._~/-]*)?$')",message="must be an http or https address without user, password and query, such as http://heketi:8080"
	URL string `json:"url"`
	// User is who we are; heketi's administrator is "admin". Absent where heketi
	// asks for no authentication.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$')",message="must be 1 to 64 of letters, digits and . _ @ -, beginning with a letter or digit"
	User string `json:"user,omitempty"`
	// KeyFile holds the user's key; it is read again for each request.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=160
	// +kubebuilder:validation:XValidation:rule="self == '' || (self.matches('^(/[^/]+)+$') && !(self + '/').matches('/[.][.]?/'))",message="must be an absolute path below /, without . and .. in it"
	KeyFile string `json:"keyFile,omitempty"`
	// KeySecret is a Kubernetes Secret that holds the user's key; it is read
	// again for each request. The controller must be allowed to read it.
	//
	// +optional
	KeySecret *SecretKey `json:"keySecret,omitempty"`
	// CAFile holds the certificates, in PEM form, that sign heketi's; those of
	// the system where absent. It is read again when it changes.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=160
	// +kubebuilder:validation:XValidation:rule="self == '' || (self.matches('^(/[^/]+)+$') && !(self + '/').matches('/[.][.]?/'))",message="must be an absolute path below /, without . and .. in it"
	CAFile string `json:"caFile,omitempty"`
	// ServerName is the name in heketi's certificate; the URL's host where absent.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || (isIP(self) ? !(ip(self).isLoopback() || ip(self).isUnspecified()) : (self.matches('^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$') && self.lowerAscii() != 'localhost'))",message="must be a host name or IP address, not loopback"
	ServerName string `json:"serverName,omitempty"`
	// ClusterIDs are the heketi clusters that belong to the pool; all where absent.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[0-9a-f]{32}$')",message="must be a heketi cluster ID of 32 hexadecimal digits"
	ClusterIDs []string `json:"clusterIDs,omitempty"`
	// MaxInFlight is how many operations may run in heketi at once; further ones
	// wait, and are told so. 4 where absent or 0; heketi itself allows 8.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=64
	MaxInFlight int `json:"maxInFlight,omitempty"`
}

// SecretKey is one value of a Kubernetes Secret.
type SecretKey struct {
	// Namespace is the Secret's.
	//
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",message="must be the name of a namespace"
	Namespace string `json:"namespace"`
	// Name is the Secret's.
	//
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",message="must be the name of a Secret"
	Name string `json:"name"`
	// Key is which of its values; "key" where absent.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[A-Za-z0-9._-]+$')",message="must be letters, digits and . _ -"
	Key string `json:"key,omitempty"`
}

// StorageNode is a host that runs glusterd and our agent.
type StorageNode struct {
	// Name is the node's name in its agent's configuration and certificate.
	//
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",message="must be 1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit"
	Name string `json:"name"`
	// Address is how Gluster's peers and clients know the node.
	//
	// +kubebuilder:validation:MaxLength=80
	// +kubebuilder:validation:XValidation:rule="isIP(self) ? !(ip(self).isLoopback() || ip(self).isUnspecified()) : (self.matches('^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$') && self.lowerAscii() != 'localhost')",message="must be a host name or IP address, not loopback"
	Address string `json:"address"`
	// Zone is the failure domain; nodes without one are a zone each.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",message="must be 1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit"
	Zone string `json:"zone,omitempty"`
	// Agent is the agent's host:port; Address and DefaultAgentPort where absent.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=300
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^([A-Za-z0-9._-]+|\\\\[[0-9A-Fa-f:.]+\\\\]):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$')",message="must be HOST:PORT, such as storage-1:24010 or [fd00::1]:24010"
	Agent string `json:"agent,omitempty"`
	// Roots are the brick roots that volumes may use.
	//
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(r, self.exists_one(q, q.path == r.path))",message="must give each root a path that no other root of the node has"
	Roots []BrickRoot `json:"roots"`
}

// BrickRoot is a directory on a storage node, the mount point of a file system
// with project quotas, below which brick directories are made.
type BrickRoot struct {
	// Name is the root's name in the agent's configuration.
	//
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",message="must be 1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit"
	Name string `json:"name"`
	// Path is the mount point; informative here, the agent's configuration decides.
	//
	// +kubebuilder:validation:MaxLength=160
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/[^/]+)+$') && !(self + '/').matches('/[.][.]?/')",message="must be an absolute path below /, without . and .. in it"
	Path string `json:"path"`
}
