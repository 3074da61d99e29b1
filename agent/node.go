// Package agent owns the service on each storage node: its verbs (Node), the
// gRPC server that carries them out there, the client that calls it, and the
// mutual TLS between the two.
//
// It offers typed verbs, never a shell, and refuses to know what a claim or a
// StorageClass is: which bricks a volume gets is the backend's business.
package agent

import (
	"context"
	"time"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
)

// Node is one storage node. Client implements it from afar; agenttest has a
// fake that passes the same tests. Errors carry a kind (volume.KindOf) and name
// the node. Sizes are bytes.
type Node interface {
	// Describe returns the node's present state. A part that cannot be read is
	// an entry in Description.Problems, not an error.
	Describe(ctx context.Context) (Description, error)
	// Bricks returns the brick directories on all roots: those of the named
	// volume, or all where the name is empty. Those in the trash are left out. It
	// fails where one root cannot be read, so that no caller takes a part for all.
	Bricks(ctx context.Context, volume string) ([]brick.Brick, error)
	// MakeBrick makes a brick directory with its mark and its quota, or finds
	// one that was made with the same mark. Exists where the volume has a brick
	// of another mark on this node; Exhausted where the root has no such room
	// uncommitted; Precondition where the root is not mounted or not ours.
	MakeBrick(ctx context.Context, r brick.MakeRequest) (brick.Brick, error)
	// RemoveBrick takes a brick directory out of the way. One that is not there
	// is no error; one that a Gluster volume still uses is Precondition.
	RemoveBrick(ctx context.Context, r brick.RemoveRequest) error
	// SetQuota sets the quota of a brick directory and writes it to its mark.
	// Exhausted where the root has no such room uncommitted.
	SetQuota(ctx context.Context, ref brick.Ref, q brick.Quota) (brick.Brick, error)
	// InitRoot makes a root of the node's configuration a brick root: a file system
	// with project quotas that is mounted there and empty. One that is a brick root
	// already is no error; anything else is Precondition and says what was found.
	InitRoot(ctx context.Context, root string) error
	// SetPolicy puts the pool's policy for roots over that of the agent's
	// configuration, until the next one or until the agent ends; zeros leave it to
	// the configuration.
	SetPolicy(ctx context.Context, p brick.Policy) error

	gluster.Cluster
}

// Description is a storage node's state at one moment.
type Description struct {
	// Node is the name in the node's configuration and certificate.
	Node string
	// Pool is the pool that its agent serves.
	Pool string
	// Version is the agent's version, Protocol the version of its verbs.
	Version  string
	Protocol int
	Roots    []brick.RootState
	// Policy is what SetPolicy said last; zeros where it did not since the agent began.
	Policy brick.Policy
	// GlusterVersion is that of Gluster on the node, known a moment after glusterd
	// first answered; empty where glusterd does not answer.
	GlusterVersion string
	// GlusterdReady is true where glusterd answered a query just now.
	GlusterdReady bool
	// MemoryTotal and MemoryAvailable are /proc/meminfo's, in bytes.
	MemoryTotal, MemoryAvailable int64
	// MemoryPressure is the share of the last ten seconds in which some task
	// waited for memory, in percent (/proc/pressure/memory, some avg10); negative where unknown.
	MemoryPressure float64
	// Load is the load average of the last minute; nil where unknown.
	Load *float64
	// BrickProcesses is how many glusterfsd run here, BrickMemory their resident memory in bytes.
	BrickProcesses int
	BrickMemory    int64
	// Clock is the node's time when it answered; ClockSynchronised is the kernel's word.
	Clock             time.Time
	ClockSynchronised bool
	// CertificateExpires is when the agent's certificate ends.
	CertificateExpires time.Time
	// Problems are parts that could not be read or are not as they should be, in words.
	Problems []string
}
