package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"bricklayer.csi/internal/volume"
)

// The exit codes. They are part of the interface: docs/reference/cli.md.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitExists      = 4
	exitLater       = 5
	exitWarnings    = 6
	exitInterrupted = 130 // as a shell says of a process ended by SIGINT
)

// exitHelp is what the help and the reference say of them.
const exitHelp = `Exit codes:
  0    done
  1    failed, and would fail again until somebody changes something
  2    a flag, an argument or a file is not as it must be
  3    there is no such volume, pool or node
  4    the name is taken by something else
  5    not now: busy, full or not reachable; the same command may be repeated
  6    doctor: there are warnings, and nothing worse
  130  interrupted; the same command may be repeated`

// exitCodes maps every kind of error.
var exitCodes = map[volume.Kind]int{
	volume.Internal:     exitFailed,
	volume.Invalid:      exitUsage,
	volume.NotFound:     exitNotFound,
	volume.Exists:       exitExists,
	volume.OutOfRange:   exitFailed,
	volume.Exhausted:    exitLater,
	volume.Busy:         exitLater,
	volume.Precondition: exitFailed,
	volume.Unavailable:  exitLater,
	volume.Denied:       exitFailed,
	volume.Unsupported:  exitFailed,
}

// usageError is a command line that says nothing that can be done.
type usageError struct{ err error }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// report writes what went wrong, if anything, and returns the exit code.
func report(ctx context.Context, to io.Writer, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	if found, ok := errors.AsType[*doctorError](err); ok {
		// Its output has said it. In a pod's log both streams are mixed, and a line
		// from here would stand in the middle of the JSON.
		return found.code
	}
	fmt.Fprintf(to, "%s: %v\n", cmd.CommandPath(), err)
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(to, "Run '%s --help' for usage.\n", cmd.CommandPath())
		return exitUsage
	case ctx.Err() != nil:
		return exitInterrupted
	}
	return exitCodes[volume.KindOf(err)]
}
