package main

import (
	"context"

	"github.com/spf13/cobra"

	"bricklayer.csi/internal/volume"
)

func newVolumeGet(env environment) *cobra.Command {
	var o volumeOptions
	var health bool
	cmd := &cobra.Command{
		Use:   "get VOLUME",
		Short: "Show a volume, and what is wrong with it",
		Args:  exactly("VOLUME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.with(cmd.Context(), env, func(ctx context.Context, s *session) error {
				h, err := o.find(s, args[0])
				if err != nil {
					return err
				}
				v, err := s.Get(ctx, h)
				if err != nil {
					return err
				}
				var found *volume.Health
				if health {
					seen, err := s.Health(ctx, h)
					if err != nil {
						return err
					}
					found = &seen
				}
				return o.out.volume(cmd.OutOrStdout(), v, found)
			})
		},
	}
	o.AddFlags(cmd.Flags(), env)
	cmd.Flags().BoolVar(&health, "health", false, "also look after its bricks, heals, quotas and space")
	return cmd
}
