package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"bricklayer.csi/internal/volume"
)

func newVolumeList(env environment) *cobra.Command {
	var o volumeOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the volumes of all pools, or of one",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd.Context(), env, func(ctx context.Context, s *session) error {
				if names := s.pools.Names(); o.pool != "" && !slices.Contains(names, o.pool) {
					return volume.NewFieldError("--pool", o.pool, "one of "+list(names))
				}
				all, err := s.List(ctx)
				if err != nil {
					return err
				}
				all = slices.DeleteFunc(all, func(v volume.Volume) bool { return o.pool != "" && v.Handle.Pool != o.pool })
				return o.out.volumes(cmd.OutOrStdout(), all)
			})
		},
	}
	o.AddFlags(cmd.Flags(), env)
	return cmd
}
