package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/internal/volume"
)

// createOptions say what volume to make.
type createOptions struct {
	volumeOptions
	size       string
	kind       string
	parameters []string
}

// AddFlags adds the flags.
func (o *createOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	o.volumeOptions.AddFlags(fs, env)
	fs.StringVar(&o.size, "size", volume.DefaultSize.String(), "its size, such as 500Mi or 10GiB: what df shows and what is enforced")
	fs.StringVar(&o.kind, "type", "", "its type: replicate[:N], replicate:3:arbiter:1, disperse:D:R or none (default replicate:3)")
	fs.StringArrayVarP(&o.parameters, "parameter", "p", nil, "a parameter KEY=VALUE as in a StorageClass; may be given several times")
}

// class returns the parameters as a StorageClass has them.
func (o *createOptions) class() (map[string]string, error) {
	class := map[string]string{}
	set := func(flag, key, value string) error {
		for have := range class {
			if strings.EqualFold(have, key) {
				return usagef("%s: the parameter %s is given twice", flag, key)
			}
		}
		class[key] = value
		return nil
	}
	for _, p := range o.parameters {
		key, value, ok := strings.Cut(p, "=")
		if !ok {
			return nil, volume.NewFieldError("--parameter", p, "KEY=VALUE")
		}
		if err := set("--parameter", key, value); err != nil {
			return nil, err
		}
	}
	for _, f := range []struct{ flag, key, value string }{{"--type", "volumetype", o.kind}, {"--pool", "pool", o.pool}} {
		if f.value == "" {
			continue
		}
		if err := set(f.flag, f.key, f.value); err != nil {
			return nil, err
		}
	}
	return class, nil
}

func newVolumeCreate(env environment) *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a volume, or show the one that was created so before",
		Example: `  bricklayer volume create data --size 10GiB
  bricklayer volume create logs --size 1TiB --type disperse:4:2 -p onDelete=archive`,
		Args: exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			class, err := o.class()
			if err != nil {
				return err
			}
			size, err := volume.ParseSize(o.size)
			if err != nil {
				return err
			}
			if size == 0 {
				return volume.NewFieldError("--size", o.size, "a size above zero")
			}
			return o.with(cmd.Context(), env, func(ctx context.Context, s *session) error {
				spec, err := s.Spec(args[0], volume.SizeRange{Required: size}, class)
				if err != nil {
					return err
				}
				v, err := s.Create(ctx, spec)
				if err != nil {
					return err
				}
				return o.out.volume(cmd.OutOrStdout(), v, nil)
			})
		},
	}
	o.AddFlags(cmd.Flags(), env)
	return cmd
}
