package heketitest

import (
	"slices"
	"time"

	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/volume"
)

// database is heketi's, in the form of its dump.
type database struct {
	Clusters     map[string]*clusterEntry   `json:"clusterentries"`
	Volumes      map[string]*volumeEntry    `json:"volumeentries"`
	Bricks       map[string]*brickEntry     `json:"brickentries"`
	Nodes        map[string]*nodeEntry      `json:"nodeentries"`
	Devices      map[string]*deviceEntry    `json:"deviceentries"`
	BlockVolumes map[string]struct{}        `json:"blockvolumeentries"`
	Attributes   map[string]struct{}        `json:"dbattributeentries"`
	Operations   map[string]*operationEntry `json:"pendingoperations"`
}

type pending struct{ Id string }

type clusterEntry struct{ Info api.ClusterInfoResponse }

type volumeEntry struct {
	Info                 api.VolumeInfo
	Bricks               []string
	GlusterVolumeOptions []string
	Pending              pending
}

type brickEntry struct {
	Info             api.BrickInfo
	TpSize           uint64
	PoolMetadataSize uint64
	Pending          pending
}

type nodeEntry struct {
	State   api.EntryState
	Info    api.NodeInfo
	Devices []string
}

type deviceEntry struct {
	State      api.EntryState
	Info       api.DeviceInfo
	Bricks     []string
	NodeId     string
	ExtentSize uint64
}

type operationEntry struct {
	Id        string
	Timestamp int64
	Type      int
	Actions   []action
	Status    string
}

type action struct {
	Change int
	Id     string
	Delta  any
}

// The numbers of heketi's operations and changes (apps/glusterfs/pendingop.go).
const (
	typeCreate, typeDelete, typeExpand           = 1, 2, 3
	addBrick, addVolume                          = 1, 2
	deleteBrick, deleteVolume, growVolume        = 3, 4, 5
	extent, kibPerGiB                     uint64 = 4096, 1 << 20
)

// newDatabase returns the database of a loaded topology.
func (s *Server) newDatabase(c Config) *database {
	db := &database{
		Clusters: map[string]*clusterEntry{}, Volumes: map[string]*volumeEntry{}, Bricks: map[string]*brickEntry{},
		Nodes: map[string]*nodeEntry{}, Devices: map[string]*deviceEntry{}, Operations: map[string]*operationEntry{},
	}
	for _, cluster := range c.Clusters {
		entry := &clusterEntry{}
		entry.Info.Id, entry.Info.File, entry.Info.Block = cluster.ID, true, true
		for zone, n := range cluster.Nodes {
			node := &nodeEntry{State: api.EntryStateOnline}
			node.Info.Id, node.Info.ClusterId, node.Info.Zone = s.newID(), cluster.ID, zone+1
			node.Info.Hostnames = api.HostAddresses{Manage: []string{n.Host}, Storage: []string{n.Host}}
			for _, size := range n.Devices {
				d := &deviceEntry{State: api.EntryStateOnline, NodeId: node.Info.Id, ExtentSize: extent}
				d.Info.Id, d.Info.Name = s.newID(), "/dev/vd"+string(rune('b'+len(node.Devices)))
				kib := uint64(size/volume.KiB) / extent * extent
				d.Info.Storage = api.StorageSize{Total: kib, Free: kib}
				db.Devices[d.Info.Id] = d
				node.Devices = append(node.Devices, d.Info.Id)
			}
			db.Nodes[node.Info.Id] = node
			entry.Info.Nodes = append(entry.Info.Nodes, node.Info.Id)
		}
		db.Clusters[cluster.ID] = entry
	}
	return db
}

// allocate finds a place for so many sets of bricks of a size (KiB), no node
// twice in a set, and takes the space. nil where there is none.
func (s *Server) allocate(cluster, vol string, sets, width int, size uint64, factor float32) []*brickEntry {
	var bricks []*brickEntry
	pool := up(uint64(float64(size) * float64(max(1, factor))))
	meta := up(uint64(float64(pool) * 0.005))
	for range sets {
		nodes := map[string]bool{}
		for range width {
			d := s.roomiest(cluster, pool+meta, nodes)
			if d == nil {
				for _, k := range bricks {
					s.free(k)
				}
				return nil
			}
			nodes[d.NodeId] = true
			k := &brickEntry{TpSize: pool, PoolMetadataSize: meta}
			k.Info = api.BrickInfo{Id: s.newID(), DeviceId: d.Info.Id, NodeId: d.NodeId, VolumeId: vol, Size: size}
			k.Info.Path = "/var/lib/heketi/mounts/vg_" + d.Info.Id + "/brick_" + k.Info.Id + "/brick"
			d.Info.Storage.Free -= pool + meta
			d.Info.Storage.Used += pool + meta
			d.Bricks = append(d.Bricks, k.Info.Id)
			s.db.Bricks[k.Info.Id] = k
			bricks = append(bricks, k)
		}
	}
	return bricks
}

func up(n uint64) uint64 { return (n + extent - 1) / extent * extent }

// roomiest returns the online device with the most room on a node that is not excluded.
func (s *Server) roomiest(cluster string, need uint64, not map[string]bool) *deviceEntry {
	var best *deviceEntry
	for _, id := range s.db.Clusters[cluster].Info.Nodes {
		n := s.db.Nodes[id]
		if not[id] || n.State != api.EntryStateOnline {
			continue
		}
		for _, device := range n.Devices {
			d := s.db.Devices[device]
			if d.State == api.EntryStateOnline && d.Info.Storage.Free >= need && (best == nil || d.Info.Storage.Free > best.Info.Storage.Free) {
				best = d
			}
		}
	}
	return best
}

// free forgets a brick and gives its space back.
func (s *Server) free(k *brickEntry) {
	d := s.db.Devices[k.Info.DeviceId]
	d.Info.Storage.Free += k.TpSize + k.PoolMetadataSize
	d.Info.Storage.Used -= k.TpSize + k.PoolMetadataSize
	d.Bricks = slices.DeleteFunc(d.Bricks, func(id string) bool { return id == k.Info.Id })
	delete(s.db.Bricks, k.Info.Id)
}

// place tries sets of ever smaller bricks, as heketi does.
func (s *Server) place(cluster, vol string, gib int, d api.VolumeDurabilityInfo, factor float32, have int) ([]*brickEntry, error) {
	width, data := 1, uint64(1)
	switch d.Type {
	case api.DurabilityReplicate:
		width = d.Replicate.Replica
	case api.DurabilityEC:
		width, data = d.Disperse.Data+d.Disperse.Redundancy, uint64(d.Disperse.Data)
	case api.DurabilityDistributeOnly:
	}
	for sets := 1; ; sets *= 2 {
		size := uint64(gib) * kibPerGiB / uint64(sets) / data
		switch {
		case size < kibPerGiB:
			return nil, errNoSpace
		case sets*width+have > 32:
			return nil, errNoSpace
		}
		if bricks := s.allocate(cluster, vol, sets, width, size, factor); bricks != nil {
			return bricks, nil
		}
	}
}

func (s *Server) newOperation(kind int) *operationEntry {
	return &operationEntry{Id: s.newID(), Timestamp: time.Now().Unix(), Type: kind}
}

// SetNodeState and SetDeviceStates put a node, or all of its devices, out of use or back.
func (s *Server) SetNodeState(host string, state api.EntryState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.db.Nodes {
		if n.Info.Hostnames.Storage[0] == host {
			n.State = state
		}
	}
}
