package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"bricklayer.csi/lab"
)

func upCommand(name *string) *cobra.Command {
	var file string
	var heketi, kubernetes, sync bool
	c := &cobra.Command{
		Use:   "up",
		Short: "Bring the lab up, or repair what of it does not run",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := chooseConfig(*name, file)
			if err != nil {
				return err
			}
			config.Heketi = config.Heketi || heketi
			config.Kubernetes = config.Kubernetes || kubernetes
			config.SyncDisks = config.SyncDisks || sync
			_, err = lab.Up(cmd.Context(), config, cmd.ErrOrStderr())
			return err
		},
	}
	c.Flags().StringVar(&file, "config", "", "YAML file that says what the lab is made of (default: as it is, or three nodes)")
	c.Flags().BoolVar(&heketi, "heketi", false, "give the lab a heketi on its raw disks; it keeps it from then on")
	c.Flags().BoolVar(&sync, "sync-disks", false, "have writes to the nodes' disks wait for this machine's disk, so that lab disks can hold them back")
	c.Flags().BoolVar(&kubernetes, "kubernetes", false, "give the lab a Kubernetes cluster with two workers; it keeps it from then on")
	return c
}

// chooseConfig: a file that is given, else what the lab is made of already, else
// the default.
func chooseConfig(name, file string) (lab.Config, error) {
	if err := lab.CheckName(name); err != nil {
		return lab.Config{}, err
	}
	var config lab.Config
	var err error
	if file != "" {
		config, err = lab.LoadConfig(file)
	} else {
		config, err = lab.ConfigOf(name)
	}
	config.Name = name
	return config, err
}

func downCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the lab: its processes, mounts, network and disks",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return lab.Down(cmd.Context(), *name, cmd.ErrOrStderr())
		},
	}
}

func resetCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "reset",
		Short: "Back to empty pools, without a reboot",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Open(*name)
			if err != nil {
				return err
			}
			l.SetProgress(cmd.ErrOrStderr())
			return l.Reset(cmd.Context())
		},
	}
}

func pathCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "path",
		Short: "Print the lab's directory (pool.yaml, certs, logs, disks)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Open(*name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), l.StateDir())
			return err
		},
	}
}

// nodeCommands act on one node each.
func nodeCommands(name *string) []*cobra.Command {
	verb := func(use, short string, do func(*cobra.Command, *lab.Lab, string) error) *cobra.Command {
		return &cobra.Command{
			Use:   use + " NODE",
			Short: short,
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				l, err := lab.Open(*name)
				if err != nil {
					return err
				}
				l.SetProgress(cmd.ErrOrStderr())
				return explain(do(cmd, l, args[0]), *name)
			},
		}
	}
	return []*cobra.Command{
		verb("restart", "Shut a node down in good order and boot it", func(c *cobra.Command, l *lab.Lab, n string) error {
			return l.Restart(c.Context(), n)
		}),
		verb("poweroff", "Cut a node's power", func(c *cobra.Command, l *lab.Lab, n string) error {
			return l.PowerOff(c.Context(), n)
		}),
		verb("pause", "Freeze a node: its connections stay open and answer nothing", func(_ *cobra.Command, l *lab.Lab, n string) error {
			return l.Pause(n)
		}),
		verb("resume", "Let a paused node go on", func(_ *cobra.Command, l *lab.Lab, n string) error {
			return l.Resume(n)
		}),
	}
}

// explain says what to do where a lab or a node does not run.
func explain(err error, name string) error {
	if errors.Is(err, lab.ErrNotUp) {
		return fmt.Errorf("%w; `lab up --name %s` brings it up", err, name)
	}
	return err
}

func disksCommand(name *string) *cobra.Command {
	var profiles []string
	for _, p := range lab.DiskProfiles() {
		profiles = append(profiles, p.Name)
	}
	return &cobra.Command{
		Use:       "disks PROFILE",
		Short:     "Hold the nodes' disks back, or let them go, while they run: " + strings.Join(profiles, ", "),
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: profiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(*name)
			if err != nil {
				return err
			}
			return l.SetDisks(cmd.Context(), args[0])
		},
	}
}

func buildCommand() *cobra.Command {
	var suite bool
	c := &cobra.Command{
		Use:   "build",
		Short: "Build the programs of Kubernetes into the cache, so that `lab up --kubernetes` finds them there",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := lab.KubernetesPrograms(cmd.Context(), cmd.ErrOrStderr())
			if err == nil && suite {
				_, err = lab.EndToEnd(cmd.Context(), cmd.ErrOrStderr())
			}
			return err
		},
	}
	c.Flags().BoolVar(&suite, "e2e", false, "build Kubernetes' end-to-end tests too")
	return c
}
