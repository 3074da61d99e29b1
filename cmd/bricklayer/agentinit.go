package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/volume"
)

// initOptions say which brick roots to prepare, and how.
type initOptions struct {
	config, root  string
	format, fstab bool
	device        string
	anyDirectory  bool
	noQuota       bool
}

// fstabFile is where --fstab writes.
const fstabFile = "/etc/fstab"

// AddFlags adds the flags.
func (o *initOptions) AddFlags(fs *pflag.FlagSet) {
	addConfigFlag(fs, &o.config)
	fs.StringVar(&o.root, "root", "", "which root of the configuration; all of them where it is left out")
	fs.BoolVar(&o.format, "format", false, "make an XFS file system on --device and mount it at the root's path first; an empty disk only")
	fs.StringVar(&o.device, "device", "", "the empty disk for --format, such as /dev/sdb")
	fs.BoolVar(&o.fstab, "fstab", false, "with --format: append the mount to "+fstabFile+" instead of only showing it")
	fs.BoolVar(&o.anyDirectory, "any-directory", false, "allow a root that is no mount point: an unmounted disk then goes unnoticed")
	fs.BoolVar(&o.noQuota, "no-quota", false, `allow a file system without project quotas: only classes that say quota: "none" can use it`)
}

// Validate checks the flags.
func (o *initOptions) Validate() error {
	switch {
	case o.format && o.device == "":
		return usagef("--format needs --device: the empty disk")
	case o.format && o.root == "":
		return usagef("--format needs --root: which root of the configuration the disk becomes")
	case o.format && (o.anyDirectory || o.noQuota):
		return usagef("--any-directory and --no-quota mean nothing with --format")
	case !o.format && (o.device != "" || o.fstab):
		return usagef("--device and --fstab need --format")
	}
	return nil
}

// rootView is what `agent init` shows of a root.
type rootView struct {
	Root  string `json:"root"`
	Path  string `json:"path"`
	ID    string `json:"id"`
	Fstab string `json:"fstab,omitempty"`
}

func newAgentInit() *cobra.Command {
	var o initOptions
	var out outputOptions
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Prepare the brick roots of a storage node, once",
		Long: `Prepare the brick roots of a storage node, once: write the marker without which
the agent uses no directory. A root that is prepared already is left as it is;
one of another pool, and a directory that holds anything else, is refused.

With --format an empty disk is made into a root: XFS with the options that suit
bricks, mounted with project quotas.`,
		Example: `  bricklayer agent init --root root1 --format --device /dev/sdb --fstab
  bricklayer agent init    # every root of the configuration, mounted already`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			views, err := o.run(cmd.Context())
			if err != nil {
				return err
			}
			return out.write(cmd.OutOrStdout(), views, func(w io.Writer) { writeRoots(w, views, o.fstab) })
		},
	}
	o.AddFlags(cmd.Flags())
	out.AddFlags(cmd.Flags())
	return cmd
}

func (o *initOptions) run(ctx context.Context) ([]rootView, error) {
	config, err := agent.LoadConfig(o.config)
	if err != nil {
		return nil, err
	}
	var views []rootView
	var names []string
	for _, r := range config.Roots {
		names = append(names, r.Name)
		if o.root != "" && o.root != r.Name {
			continue
		}
		view, err := o.one(ctx, config.Pool, brick.RootConfig{Name: r.Name, Path: r.Path})
		if err != nil {
			return nil, err
		}
		views = append(views, view)
	}
	if len(views) == 0 {
		return nil, volume.NewFieldError("--root", o.root, "one of "+list(names)+", as in "+o.config)
	}
	return views, nil
}

// one prepares one root.
func (o *initOptions) one(ctx context.Context, pool string, root brick.RootConfig) (rootView, error) {
	view := rootView{Root: root.Name, Path: root.Path}
	if !o.format {
		marker, err := brick.Init(ctx, brick.InitOptions{Pool: pool, Root: root, AnyDirectory: o.anyDirectory, NoQuota: o.noQuota})
		view.ID = marker.ID
		return view, err
	}
	format := brick.FormatOptions{Pool: pool, Root: root, Device: o.device}
	if o.fstab {
		format.Fstab = fstabFile
	}
	done, err := brick.Format(ctx, format)
	view.ID, view.Fstab = done.Marker.ID, done.Fstab
	return view, err
}

func writeRoots(w io.Writer, views []rootView, written bool) {
	fmt.Fprint(w, row("ROOT", "PATH", "ID"))
	for _, v := range views {
		fmt.Fprint(w, row(v.Root, v.Path, v.ID))
	}
	for _, v := range views {
		if v.Fstab != "" && !written {
			fmt.Fprintf(w, "add this line to %s so that root %s is mounted at boot:\n%s\n", fstabFile, v.Root, v.Fstab)
		}
	}
}
