package main

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"bricklayer.csi/lab"
)

func kubectlCommand(name *string) *cobra.Command {
	return inPlace(name, &cobra.Command{
		Use:   "kubectl -- ARGUMENT...",
		Short: "Run kubectl against the lab's Kubernetes, as its administrator",
		Args:  cobra.MinimumNArgs(1),
	}, func(cmd *cobra.Command, l *lab.Lab, args []string) ([]string, error) {
		return l.KubectlArgv(cmd.Context(), args...)
	})
}

func workerCommand(name *string) *cobra.Command {
	return inPlace(name, &cobra.Command{
		Use:   "worker NAME -- COMMAND [ARGUMENT...]",
		Short: "Run a command on a worker node: with its network, its mounts, its processes",
		Args:  cobra.MinimumNArgs(2),
	}, func(_ *cobra.Command, l *lab.Lab, args []string) ([]string, error) {
		argv := args[1:]
		if argv[0] == "--" && len(argv) > 1 {
			argv = argv[1:] // flags end at NAME, so pflag leaves it in
		}
		return l.WorkerArgv(args[0], argv...)
	})
}

// inPlace makes a command that another program takes the place of, so that signals,
// the terminal and the exit code are that program's own.
func inPlace(name *string, c *cobra.Command, argv func(*cobra.Command, *lab.Lab, []string) ([]string, error)) *cobra.Command {
	c.Flags().SetInterspersed(false)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		l, err := lab.Open(*name)
		if err != nil {
			return err
		}
		l.SetProgress(cmd.ErrOrStderr())
		line, err := argv(cmd, l, args)
		if err != nil {
			return explain(err, *name)
		}
		path, err := exec.LookPath(line[0])
		if err != nil {
			return err
		}
		return syscall.Exec(path, line, os.Environ())
	}
	return c
}

func imageCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "image FILE...",
		Short: "Give every worker node the images of docker-archives or OCI archives",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(*name)
			if err != nil {
				return err
			}
			for _, file := range args {
				if err := l.LoadImage(cmd.Context(), file); err != nil {
					return explain(err, *name)
				}
			}
			return nil
		},
	}
}
