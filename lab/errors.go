package lab

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNotUp is answered where a lab, or the node that is asked for, does not run.
	ErrNotUp = errors.New("lab is not up")
	// ErrNoNode is answered for a node that the lab does not have.
	ErrNoNode = errors.New("no such node")
)

// ExitError is a command that ran and failed, in a guest or on the host.
type ExitError struct {
	Node   string // empty: on the host
	Argv   []string
	Code   int // -1 where it ended by a signal or never began
	Stdout []byte
	Stderr []byte
	Err    error
}

func (e *ExitError) Error() string {
	where := "host"
	if e.Node != "" {
		where = "node " + e.Node
	}
	text := tail(string(e.Stderr), 2000)
	if text == "" {
		text = tail(string(e.Stdout), 2000)
	}
	if text != "" {
		text = ": " + text
	}
	return fmt.Sprintf("%s: %s: %v%s", where, strings.Join(e.Argv, " "), e.Err, text)
}

func (e *ExitError) Unwrap() error { return e.Err }

// tail is the end of a text, where programs say what went wrong.
func tail(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) > n {
		s = "..." + s[len(s)-n:]
	}
	return s
}
