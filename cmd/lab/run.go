package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bricklayer.csi/lab"
)

func execCommand(name *string) *cobra.Command {
	c := &cobra.Command{
		Use:   "exec NODE -- COMMAND [ARGUMENT...]",
		Short: "Run a command on a node; its exit code is passed on",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(*name)
			if err != nil {
				return err
			}
			// Without waiting for input that the command does not read: a terminal
			// that is only inherited would keep it open.
			std := lab.Stdio{Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr()}
			if piped(os.Stdin) {
				std.In = os.Stdin
			}
			argv := args[1:]
			if argv[0] == "--" && len(argv) > 1 {
				argv = argv[1:] // flags end at NODE, so pflag leaves it in
			}
			err = l.Stream(cmd.Context(), args[0], std, argv...)
			if e, ok := errors.AsType[*lab.ExitError](err); ok && e.Code > 0 {
				return passed(e.Code)
			}
			return explain(err, *name)
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}

// piped says whether there is input to pass on: a pipe or a file, not a terminal.
func piped(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice == 0
}

func hostCommand(name *string) *cobra.Command {
	c := &cobra.Command{
		Use:   "host -- COMMAND [ARGUMENT...]",
		Short: "Run a command of this machine inside the lab's network, where it can mount volumes",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := lab.Open(*name)
			if err != nil {
				return err
			}
			argv, err := l.HostArgv(args...)
			if err != nil {
				return explain(err, *name)
			}
			path, err := exec.LookPath(argv[0])
			if err != nil {
				return err
			}
			// In our place, so that signals, the terminal and the exit code are its own.
			return syscall.Exec(path, argv, os.Environ())
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}

func statusCommand(name *string) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes; exit code 1 if one of them is not ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("--output %q: want table or json", output)
			}
			l, err := lab.Open(*name)
			if err != nil {
				return err
			}
			list, err := l.Status(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(list)
			}
			return printStatus(cmd, l, list)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return c
}

func printStatus(cmd *cobra.Command, l *lab.Lab, list []lab.NodeStatus) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "NODE\tADDRESS\tZONE\tPOWER\tGLUSTERD\tPEERS\tSTATE")
	bad := false
	for _, s := range list {
		state := "ready"
		if f := l.Faults(s); len(f) > 0 {
			state, bad = strings.Join(f, "; "), true
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d/%d\t%s\n",
			s.Name, s.Address, s.Zone, s.Power, s.Glusterd, s.Peers, len(list), state)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	faults, err := l.KubernetesFaults(cmd.Context())
	if err != nil {
		return err
	}
	if workers := l.Workers(); len(workers) > 0 {
		state := fmt.Sprintf("ready, %d workers: %s %s", len(workers), workers[0].Name, workers[0].Address)
		if len(faults) > 0 {
			state, bad = strings.Join(faults, "; "), true
		}
		_, _ = fmt.Fprintf(cmd.OutOrStdout(), "Kubernetes: %s\n", state)
	}
	if bad {
		return passed(1)
	}
	return nil
}
