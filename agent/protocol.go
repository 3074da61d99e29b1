package agent

import (
	"fmt"

	"bricklayer.csi/internal/volume"
)

// Protocol is the version of the agent's verbs. It is raised when a client of
// the old version could misunderstand an agent of the new one, or the other
// way round; a field that may be left out raises nothing.
const Protocol = 1

// WrongProtocol returns the error for an agent that speaks another version.
func WrongProtocol(node string, theirs int) error {
	next := "upgrade the agent on that node"
	if theirs > Protocol {
		next = "upgrade the controller"
	}
	return &volume.Error{
		Kind: volume.Precondition, Op: "call agent", On: "node " + node,
		Err:  fmt.Errorf("its agent speaks protocol version %d, this controller version %d", theirs, Protocol),
		Next: next,
	}
}
