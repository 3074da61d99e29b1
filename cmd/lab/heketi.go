package main

import (
	"syscall"

	"github.com/spf13/cobra"

	"bricklayer.csi/lab"
)

func heketiCommand(name *string) *cobra.Command {
	c := &cobra.Command{
		Use:   "heketi -- ARGUMENT...",
		Short: "Run heketi-cli against the lab's heketi, as its administrator",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(*name)
			if err != nil {
				return err
			}
			l.SetProgress(cmd.ErrOrStderr())
			argv, env, err := l.HeketiCLI(cmd.Context(), args...)
			if err != nil {
				return explain(err, *name)
			}
			// In our place, so that the terminal and the exit code are its own.
			return syscall.Exec("/usr/bin/nsenter", argv, env)
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}
