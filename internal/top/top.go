// Package top owns the picture of pools, storage nodes and volumes that `bricklayer
// top` shows, and what changed between two looks.
//
// It looks through internal/operator, and refuses to know where pools come from and
// what a terminal is.
package top

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/operator"
)

// View is one look. What is not known is absent. Sizes are bytes, rates are of the
// time since the look before, and absent in the first one.
type View struct {
	At    time.Time `json:"at"`
	Pools []Pool    `json:"pools"`
}

// Pool is one pool of a View.
type Pool struct {
	Name   string  `json:"name"`
	Stores []Store `json:"stores"`
	Nodes  []Node  `json:"nodes"`
	// Troubles are the conditions that are not as they should be, with their messages.
	Troubles []string `json:"troubles,omitempty"`
}

// The kinds of volumes, and of the stores that they are in.
const (
	Plain = "plain"
	LVM   = "lvm"
)

// Store is what a pool has for volumes of one kind: brick roots, or heketi's devices.
type Store struct {
	Kind           string `json:"kind"`
	RawBytes       *int64 `json:"rawBytes,omitempty"`
	CommittedBytes *int64 `json:"committedBytes,omitempty"`
	// FreeBytes is what can still be promised, bricks of all copies counted.
	FreeBytes *int64 `json:"freeBytes,omitempty"`
	Volumes   *int64 `json:"volumes,omitempty"`
	// VolumesChange is how many volumes were made since the look before, less those removed.
	VolumesChange *int64 `json:"volumesChange,omitempty"`
}

// Node is one storage node of a pool.
type Node struct {
	Name string `json:"name"`
	// Reachable is false where its agent did not answer in time: of such a node
	// nothing else is known.
	Reachable bool `json:"reachable"`
	Glusterd  bool `json:"glusterd"`
	// MemoryBytes is the node's, AvailableBytes what programs could have of it.
	MemoryBytes    *int64 `json:"memoryBytes,omitempty"`
	AvailableBytes *int64 `json:"memoryAvailableBytes,omitempty"`
	// PressurePercent is the share of the last 10 s in which some task waited for memory.
	PressurePercent *float64 `json:"memoryPressurePercent,omitempty"`
	// Load is the load average of the last minute.
	Load           *float64 `json:"load,omitempty"`
	BrickProcesses int      `json:"brickProcesses"`
	Roots          []Root   `json:"roots,omitempty"`
	// WrittenPerSecond is what its roots grew by, less what was freed, in bytes.
	WrittenPerSecond *int64 `json:"writtenBytesPerSecond,omitempty"`
}

// Root is one brick root of a node.
type Root struct {
	Name string `json:"name"`
	// Problem is why it cannot be used.
	Problem   string `json:"problem,omitempty"`
	SizeBytes *int64 `json:"sizeBytes,omitempty"`
	UsedBytes *int64 `json:"usedBytes,omitempty"`
	Bricks    int    `json:"bricks"`
}

// Watched is a pool to be looked at.
type Watched struct {
	// Resource has its defaults.
	Resource v1alpha1.StoragePool
	Members  operator.Members
}

// Watcher looks again and again. Its zero value is ready to use, by one caller.
type Watcher struct {
	status map[string]v1alpha1.StoragePoolStatus
	last   View
}

// Look looks at these pools, all at once. What does not answer within a time limit
// for each question is not known, and keeps nobody waiting for longer. Where ctx
// ends, what was not seen by then is not known either.
func (w *Watcher) Look(ctx context.Context, pools []Watched, within time.Duration) View {
	seen := make([]operator.Seen, len(pools))
	var looking sync.WaitGroup
	for i := range pools {
		p := &pools[i]
		looking.Go(func() {
			seen[i] = operator.Look(ctx, &p.Resource, w.status[p.Resource.Name], limited(p.Members, within))
		})
	}
	looking.Wait()
	w.status = map[string]v1alpha1.StoragePoolStatus{}
	v := View{At: time.Now().UTC(), Pools: []Pool{}}
	for i := range seen {
		w.status[seen[i].Pool] = seen[i].Status
		v.Pools = append(v.Pools, poolOf(&seen[i], &pools[i].Resource))
	}
	slices.SortFunc(v.Pools, func(a, b Pool) int { return strings.Compare(a.Name, b.Name) })
	v.compare(w.last)
	w.last = v
	return v
}

func poolOf(s *operator.Seen, r *v1alpha1.StoragePool) Pool {
	p := Pool{Name: s.Pool, Troubles: troubles(s.Status.Conditions), Stores: []Store{}, Nodes: []Node{}}
	if len(r.Spec.Nodes) > 0 {
		p.Stores = append(p.Stores, store(Plain, s.Status.Capacity, s.Status.Volumes))
	}
	if r.Spec.Heketi != nil {
		p.Stores = append(p.Stores, store(LVM, s.Status.HeketiCapacity, s.Status.Volumes))
	}
	for i := range s.Nodes {
		p.Nodes = append(p.Nodes, nodeOf(&s.Nodes[i], s.Status.Nodes))
	}
	return p
}

func store(kind string, c *v1alpha1.Capacity, volumes *v1alpha1.VolumeCounts) Store {
	s := Store{Kind: kind}
	if c != nil {
		s.RawBytes, s.CommittedBytes, s.FreeBytes = new(c.Raw.Value()), new(c.Committed.Value()), new(c.Free.Value())
	}
	if volumes != nil {
		n := volumes.Plain
		if kind == LVM {
			n = volumes.LVM
		}
		s.Volumes = new(int64(n))
	}
	return s
}

// expected are conditions with the status that they have where all is well.
var expected = map[string]metav1.ConditionStatus{
	v1alpha1.ConditionReady:         metav1.ConditionTrue,
	v1alpha1.ConditionDegraded:      metav1.ConditionFalse,
	v1alpha1.ConditionQuotaEnforced: metav1.ConditionTrue,
	v1alpha1.ConditionTimeInSync:    metav1.ConditionTrue,
	v1alpha1.ConditionHeketiReady:   metav1.ConditionTrue,
	v1alpha1.ConditionCapacityLow:   metav1.ConditionFalse,
}

func troubles(all []metav1.Condition) []string {
	var found []string
	for _, c := range all {
		if want, known := expected[c.Type]; known && c.Status != want {
			found = append(found, c.Type+" is "+strings.ToLower(string(c.Status))+": "+c.Message)
		}
	}
	return found
}

func nodeOf(s *operator.SeenNode, statuses []v1alpha1.NodeStatus) Node {
	n := Node{Name: s.Name, Reachable: s.Reachable}
	if !s.Reachable {
		return n
	}
	n.Glusterd, n.BrickProcesses, n.Load = s.GlusterdReady, s.BrickProcesses, s.Load
	if s.MemoryTotal > 0 {
		n.MemoryBytes, n.AvailableBytes = new(s.MemoryTotal), new(s.MemoryAvailable)
	}
	if s.MemoryPressure >= 0 {
		n.PressurePercent = new(s.MemoryPressure)
	}
	at := slices.IndexFunc(statuses, func(status v1alpha1.NodeStatus) bool { return status.Name == s.Name })
	if at < 0 {
		return n
	}
	for _, status := range statuses[at].Roots { // those of the pool, whatever its agent has
		r := Root{Name: status.Name, Problem: status.Problem, Bricks: int(status.Bricks)}
		i := slices.IndexFunc(s.Roots, func(state brick.RootState) bool { return state.Name == status.Name })
		if i >= 0 && status.Problem == "" {
			size, free := int64(s.Roots[i].Total), int64(s.Roots[i].Free)
			r.SizeBytes, r.UsedBytes = new(size), new(size-free)
		}
		n.Roots = append(n.Roots, r)
	}
	return n
}
