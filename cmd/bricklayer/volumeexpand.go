package main

import (
	"context"

	"github.com/spf13/cobra"

	"bricklayer.csi/internal/volume"
)

func newVolumeExpand(env environment) *cobra.Command {
	var o volumeOptions
	var size string
	cmd := &cobra.Command{
		Use:   "expand VOLUME --size SIZE",
		Short: "Grow a volume to at least a size, mounted or not",
		Long: `Grow a volume to at least a size. Clients that have it mounted see the new size
at once. A volume that is that large already is left as it is; none shrinks.`,
		Args: exactly("VOLUME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if size == "" {
				return usagef("--size is missing: the size to grow to")
			}
			bytes, err := volume.ParseSize(size)
			if err != nil {
				return err
			}
			if bytes == 0 {
				return volume.NewFieldError("--size", size, "a size above zero")
			}
			return o.with(cmd.Context(), env, func(ctx context.Context, s *session) error {
				h, err := o.find(s, args[0])
				if err != nil {
					return err
				}
				v, err := s.Expand(ctx, h, volume.SizeRange{Required: bytes})
				if err != nil {
					return err
				}
				return o.out.volume(cmd.OutOrStdout(), v, nil)
			})
		},
	}
	o.AddFlags(cmd.Flags(), env)
	cmd.Flags().StringVar(&size, "size", "", "the size to grow to, such as 20GiB")
	return cmd
}
