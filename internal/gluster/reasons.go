package gluster

import (
	"fmt"
	"strings"
)

// refusal is a row of the table from what glusterd says to why it refused.
type refusal struct {
	// errno is glusterd's own number (glusterd-errno.h); 0 matches any. Nearly
	// all refusals carry the same number, "internal error", so the text decides.
	errno int
	// text must be part of what was said, in lower case; empty matches any.
	text string
	// and must be part of it too.
	and    string
	reason Reason
}

// refusals is that table; the first row that matches counts. Its texts are of
// Gluster 10; testdata has the answers they were taken from.
var refusals = []refusal{
	// The command line's own words.
	{text: "connection failed", and: "daemon is operational", reason: DaemonDown},
	{text: "request timed out", reason: Timeout},
	{text: "command returned with error code", reason: Timeout},

	// Options before volumes: "option : a.b does not exist".
	{text: "option : ", and: "does not exist", reason: BadOption},
	{text: "not a valid option", reason: BadOption},
	{text: "is not valid for a single volume", reason: BadOption},
	{text: "please enable brick multiplexing", reason: BadOption},
	{text: "invalid number format", reason: BadOption},
	{text: "in 'option ", reason: BadOption},
	{text: "in option ", reason: BadOption},
	{text: "option ", and: "is not", reason: BadOption},
	{text: "error, validation failed", reason: BadOption},

	// The trusted pool.
	{errno: 30802, reason: Locked},
	{text: "another transaction", reason: Locked},
	{text: "locking failed", reason: Locked},
	{text: "rebalance session is in progress", reason: Locked}, // as long as it moves files
	{text: "quorum not met", reason: QuorumLost},
	{errno: 30804, reason: PeerDown},
	{text: "not in 'peer in cluster' state", reason: PeerDown},
	{text: "host ", and: "not connected", reason: PeerDown},
	{text: "peers are down", reason: PeerDown},
	{text: "failed to find host", reason: PeerDown},
	// What "peer probe" says of the node that is asked in; glusterd-handler.c has it
	// as set_probe_error_str.
	{text: "already part of another cluster", reason: PeerRefused},
	{text: "conflicts with existing volumes in the cluster", reason: PeerRefused},
	{text: "conflict in comparing list of snapshots", reason: PeerRefused},
	{text: "is same as local uuid", reason: PeerRefused},
	{text: "responded with 'unknown peer' error", reason: PeerDown},
	{text: "failed to add peer information", reason: PeerDown},
	{text: "probe returned with ", reason: PeerDown},
	{text: "cluster quorum is not met", reason: QuorumLost},

	// Bricks.
	{text: "already part of a volume", reason: BrickInUse},
	{text: "containing or be contained by an existing brick", reason: BrickInUse},
	{text: "failed to create brick directory", and: "no such file or directory", reason: BrickMissing},
	{text: "failed to find brick directory", reason: BrickMissing},
	{text: "failed to get extended attribute trusted.glusterfs.volume-id", reason: BrickMissing},
	{text: "volume id mismatch", reason: BrickInUse},
	{text: "created in the root partition", reason: BrickRefused},
	{text: "is a mount point", reason: BrickRefused},
	{text: "other than localhost", reason: BrickRefused},
	{text: "present on the same server", reason: BrickRefused},
	{errno: 30803, reason: BricksDown},
	{text: "transport endpoint is not connected", reason: BricksDown},

	// The volume's state.
	{errno: 30806, reason: NotFound},
	{errno: 30811, reason: Exists},
	{text: "volume ", and: "already exists", reason: Exists},
	{text: "volume ", and: "does not exist", reason: NotFound},
	{text: "already started", reason: AlreadyStarted},
	{text: "is not started", reason: NotStarted},
	{text: "not in the started state", reason: NotStarted},
	// What `heal info` says of a volume that does not run.
	{text: "not able to fetch volfile from glusterd", reason: NotStarted},
	{text: "needs to be stopped", reason: NotStopped},
}

// reasonOf finds the reason in what was said.
func reasonOf(errno int, text string) Reason {
	text = strings.ToLower(text)
	for _, r := range refusals {
		if (r.errno == 0 || r.errno == errno) && strings.Contains(text, r.text) && strings.Contains(text, r.and) {
			return r.reason
		}
	}
	return Other
}

// maxText is how much of what gluster said an error carries.
const maxText = 1024

// refused makes the error of a command that gluster refused.
func refused(command string, errno int, text string) *Error {
	// What follows the usage line is the same for every fault.
	text, _, _ = strings.Cut("\n"+text, "\nUsage:")
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "?")
	reason := reasonOf(errno, text)
	if text == "" {
		text = fmt.Sprintf("no reason given (error number %d)", errno)
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "..."
	}
	return &Error{Reason: reason, Command: command, Text: text}
}
