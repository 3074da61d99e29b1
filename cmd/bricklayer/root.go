package main

import (
	"strings"

	"github.com/spf13/cobra"
)

func newRoot(env environment) *cobra.Command {
	root := group("bricklayer", "Volumes from GlusterFS for Kubernetes and other CSI orchestrators")
	root.Long = "Bricklayer gives Kubernetes, and any CSI orchestrator, volumes from GlusterFS.\n\n" + exitHelp
	root.AddCommand(
		newController(env),
		newNode(env),
		newMountd(env),
		newAgent(env),
		newCerts(),
		newPool(env),
		newTop(env),
		newVolume(env),
		newOrphans(env),
		newDoctor(env),
		newBench(env),
		newVersion(),
	)
	return root
}

// settle has a root command use the process as the environment has it, and leave
// errors to report.
func settle(root *cobra.Command, env environment) {
	root.SetIn(env.in)
	root.SetOut(env.out)
	root.SetErr(env.err)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err: err} })
}

// group returns a command that only holds others.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		// Two slips are a typing error, more are another word.
		SuggestionsMinimumDistance: 2,
		// Without Args of its own cobra takes a misspelt verb for an argument,
		// shows the help and calls that a success.
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return usagef("unknown command %q; did you mean %s?", args[0], strings.Join(near, " or "))
			}
			return usagef("unknown command %q", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// exactly wants one argument for each name, and says which is missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != len(names) {
			if len(names) == 0 {
				return usagef("it takes no arguments, but was given %d", len(args))
			}
			return usagef("it takes %s, but was given %d arguments", strings.Join(names, " "), len(args))
		}
		return nil
	}
}
