package gluster

import (
	"strings"

	"bricklayer.csi/internal/volume"
)

// Reason says why glusterd refused.
type Reason string

// The reasons. Other is anything that is not recognised.
const (
	Other          Reason = "Other"
	Exists         Reason = "Exists"         // a volume of that name is there
	NotFound       Reason = "NotFound"       // no volume of that name
	NotStarted     Reason = "NotStarted"     // the volume does not run
	AlreadyStarted Reason = "AlreadyStarted" // the volume runs
	NotStopped     Reason = "NotStopped"     // the volume must be stopped first
	Locked         Reason = "Locked"         // another transaction, or a rebalance, is in progress
	PeerDown       Reason = "PeerDown"       // a peer that is needed does not answer, or is no peer
	PeerRefused    Reason = "PeerRefused"    // a node cannot join: it is of another trusted pool, has volumes, or our own UUID
	BrickInUse     Reason = "BrickInUse"     // a brick directory belongs, or belonged, to a volume
	BrickMissing   Reason = "BrickMissing"   // a brick directory is not there, or lost its mark of the volume
	BrickRefused   Reason = "BrickRefused"   // a brick lies where glusterd wants none: system disk, mount point, loopback address
	BricksDown     Reason = "BricksDown"     // no brick process of the volume answers
	QuorumLost     Reason = "QuorumLost"     // too few peers are up for server quorum
	BadOption      Reason = "BadOption"      // an option that does not exist or a value that it does not take
	DaemonDown     Reason = "DaemonDown"     // glusterd does not answer on this host
	Timeout        Reason = "Timeout"        // no answer in time: the outcome is unknown
)

// reasonKinds is the one table from reasons to kinds.
var reasonKinds = map[Reason]volume.Kind{
	Other:          volume.Internal,
	Exists:         volume.Exists,
	NotFound:       volume.NotFound,
	NotStarted:     volume.Precondition,
	AlreadyStarted: volume.Precondition,
	NotStopped:     volume.Busy, // we stop before we delete: a node came back and missed it; again ends it
	Locked:         volume.Busy,
	PeerDown:       volume.Unavailable,
	PeerRefused:    volume.Precondition,
	BrickInUse:     volume.Precondition,
	BrickMissing:   volume.Precondition,
	BrickRefused:   volume.Precondition,
	BricksDown:     volume.Unavailable,
	QuorumLost:     volume.Unavailable,
	BadOption:      volume.Invalid,
	DaemonDown:     volume.Unavailable,
	Timeout:        volume.Unavailable,
}

// Error is a gluster command that failed.
type Error struct {
	Reason Reason
	// Command is what was run, without "gluster" and without option values that might be long.
	Command string
	// Text is what gluster said, on one line.
	Text string
	// Err is a cause outside gluster, such as the end of the context; may be nil.
	Err error
}

// Error returns "gluster COMMAND: TEXT".
func (e *Error) Error() string {
	return "gluster " + e.Command + ": " + strings.Join(strings.Fields(e.Text), " ")
}

// Unwrap returns the cause outside gluster.
func (e *Error) Unwrap() error { return e.Err }

// ErrorKind returns the kind of the reason; see volume.KindOf.
func (e *Error) ErrorKind() volume.Kind { return reasonKinds[e.Reason] }
