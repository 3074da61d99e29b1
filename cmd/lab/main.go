// Command lab brings the test bed of storage nodes up and down and works on it.
// It owns flags and exit codes; everything else is package lab.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"bricklayer.csi/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	os.Exit(exitCode(err))
}

// exitCode passes on what a command in a guest or on the host ended with.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[passed](err); ok {
		return int(e)
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	return 1
}

// passed is the exit code of a command that has said for itself what went wrong.
type passed int

func (p passed) Error() string { return fmt.Sprintf("exit status %d", int(p)) }

func root() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:           "lab",
		Short:         "A test bed of real GlusterFS storage nodes on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.PersistentFlags().StringVar(&name, "name", lab.DefaultName, "which lab; several can be up side by side")
	c.AddCommand(
		buildCommand(), upCommand(&name), downCommand(&name), statusCommand(&name), resetCommand(&name), disksCommand(&name),
		execCommand(&name), hostCommand(&name), pathCommand(&name),
		heketiCommand(&name), kubectlCommand(&name), workerCommand(&name), imageCommand(&name),
	)
	c.AddCommand(nodeCommands(&name)...)
	return c
}
