package heketi

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/volume"
)

// dump is heketi's database as GET /db/dump writes it, as far as it concerns
// us. What it holds of block volumes, passwords among it, is not read.
type dump struct {
	Clusters map[string]struct {
		Info api.ClusterInfoResponse
	} `json:"clusterentries"`
	Volumes map[string]volumeEntry `json:"volumeentries"`
	Bricks  map[string]struct {
		Info api.BrickInfo
	} `json:"brickentries"`
	Nodes map[string]struct {
		State api.EntryState
		Info  api.NodeInfo
	} `json:"nodeentries"`
	Devices map[string]struct {
		State      api.EntryState
		Info       api.DeviceInfo
		NodeID     string `json:"NodeId"`
		ExtentSize uint64
	} `json:"deviceentries"`
	Operations map[string]operationEntry `json:"pendingoperations"`
}

type volumeEntry struct {
	Info                 api.VolumeInfo
	Bricks               []string
	GlusterVolumeOptions []string
	Pending              struct {
		ID string `json:"Id"`
	}
}

// operationEntry is an operation that has begun and is not at its end.
type operationEntry struct {
	ID string `json:"Id"`
	// Timestamp is when it began, in seconds since 1970.
	Timestamp int64
	Type      operationType
	Actions   []struct {
		Change int
		ID     string `json:"Id"`
	}
	// Status is empty while heketi works on it, else operationStale or operationFailed.
	Status string
}

// operationType numbers heketi's operations as its database does
// (apps/glusterfs/pendingop.go: the numbers never change).
type operationType int

const (
	createVolume operationType = 1
	deleteVolume operationType = 2
	expandVolume operationType = 3
)

// What became of an operation on which heketi works no longer.
const (
	operationStale  = "stale"  // heketi was restarted
	operationFailed = "failed" // it failed, and could not be undone
)

// String returns heketi's name of the operation.
func (t operationType) String() string {
	switch t {
	case createVolume:
		return "create-volume"
	case deleteVolume:
		return "delete-volume"
	case expandVolume:
		return "expand-volume"
	}
	return fmt.Sprintf("operation of type %d", int(t))
}

// running reports whether heketi works on it now.
func (o operationEntry) running() bool { return o.Status == "" }

// parseDump reads heketi's database. Anything in it may be odd, since heketi
// itself checks it only on request; only what could not be worked with is refused.
func parseDump(text string) (dump, error) {
	var d dump
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return dump{}, err
	}
	if d.Volumes == nil || d.Clusters == nil || d.Nodes == nil || d.Devices == nil {
		return dump{}, &volume.Error{
			Kind: volume.Unavailable, Op: "read heketi's database",
			Err:  errors.New("the answer is JSON, but no database of heketi's: it lacks volumes, clusters, nodes or devices"),
			Next: "is the pool's URL heketi's, without a path of its own, and heketi of version 8 or later?",
		}
	}
	return d, nil
}
