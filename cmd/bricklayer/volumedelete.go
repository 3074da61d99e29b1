package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func newVolumeDelete(env environment) *cobra.Command {
	var o volumeOptions
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete VOLUME",
		Short: "Delete a volume and its data",
		Long: `Delete a volume and, unless it was created with onDelete "retain" or "archive",
its data. A volume that does not exist is no error. The command asks before it
deletes, unless --yes is given.`,
		Args: exactly("VOLUME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.with(cmd.Context(), env, func(ctx context.Context, s *session) error {
				h, err := o.find(s, args[0])
				if err != nil {
					return err
				}
				if !yes {
					if err := confirm(cmd.InOrStdin(), cmd.ErrOrStderr(), h.Name); err != nil {
						return err
					}
				}
				if err := s.Delete(ctx, h); err != nil {
					return err
				}
				deleted := struct {
					Handle  string `json:"handle"`
					Deleted bool   `json:"deleted"`
				}{h.String(), true}
				return o.out.write(cmd.OutOrStdout(), deleted, func(w io.Writer) {
					fmt.Fprintf(w, "%s is deleted\n", h)
				})
			})
		},
	}
	o.AddFlags(cmd.Flags(), env)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirm has the volume's name typed in before its data goes.
func confirm(in io.Reader, out io.Writer, name string) error {
	fmt.Fprintf(out, "The volume and its data will be deleted. Type its name, %s, to go on: ", name)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && answer == "" {
		return usagef("nobody answered: repeat with --yes")
	}
	if strings.TrimSpace(answer) != name {
		return usagef("that is not its name: nothing was deleted")
	}
	return nil
}
