package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/csi"
)

// nodeOptions are those of the node service.
type nodeOptions struct {
	plugin pluginOptions
	mounts mountOptions
	id     string
}

// AddFlags adds the flags.
func (o *nodeOptions) AddFlags(fs *pflag.FlagSet) {
	o.plugin.AddFlags(fs)
	o.mounts.AddFlags(fs)
	fs.StringVar(&o.id, "node-id", "", "the node's name, as the orchestrator knows it; the host's name where it is left out")
}

// Validate checks the flags; the node's name is the CSI service's to check.
func (o *nodeOptions) Validate() error { return o.plugin.Validate() }

func newNode(env environment) *cobra.Command {
	var o nodeOptions
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Serve the CSI node service: mount volumes on this host",
		Long: `Serve the CSI node service on a socket until SIGTERM or SIGINT.

It must run as root, in the mount namespace of whoever uses the volumes, and
needs the glusterfs client. It needs neither pools nor certificates: what a mount
takes is in the volume's context.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

func (o *nodeOptions) run(ctx context.Context, env environment) error {
	log := o.plugin.log.logger(env.err)
	if o.id == "" {
		name, err := os.Hostname()
		if err != nil {
			return usagef("--node-id is missing, and the host's name cannot be read: %w", err)
		}
		o.id = name
	}
	mounter, err := o.mounts.mounter(log)
	if err != nil {
		return err
	}
	node, err := csi.NewNode(csi.NodeOptions{ID: o.id, Mounts: mounter, Log: log})
	if err != nil {
		return err
	}
	identity, err := csi.NewIdentity(csi.IdentityOptions{Name: o.plugin.driver, Version: version, Ready: mounter.Ready, Log: log})
	if err != nil {
		return err
	}
	server, err := csi.NewServer(ctx, csi.ServerOptions{Endpoint: o.plugin.endpoint, Identity: identity, Node: node, Log: log})
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "node service starts", "version", version, "endpoint", o.plugin.endpoint, "node", o.id)
	return server.Serve(ctx)
}
