package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"bricklayer.csi/csi"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/pool"
)

// pluginOptions are what the controller and the node service have in common.
type pluginOptions struct {
	endpoint, driver string
	log              logOptions
}

// AddFlags adds the flags.
func (o *pluginOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.endpoint, "endpoint", "unix:///run/bricklayer/csi.sock", "the socket to serve CSI on")
	fs.StringVar(&o.driver, "driver-name", csi.DefaultDriverName, "the name of the CSI driver, to let two installations live side by side")
	o.log.AddFlags(fs)
}

// Validate checks the flags; the endpoint and the name are the CSI server's to check.
func (o *pluginOptions) Validate() error { return o.log.Validate() }

// controllerOptions are those of the controller.
type controllerOptions struct {
	plugin pluginOptions
	pools  poolsOptions
}

// AddFlags adds the flags.
func (o *controllerOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	o.plugin.AddFlags(fs)
	o.pools.AddFlags(fs, env)
}

// Validate checks the flags.
func (o *controllerOptions) Validate() error {
	if err := o.plugin.Validate(); err != nil {
		return err
	}
	return o.pools.Validate()
}

func newController(env environment) *cobra.Command {
	var o controllerOptions
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Serve the CSI controller: create, expand, list and delete volumes",
		Long: `Serve the CSI controller on a socket until SIGTERM or SIGINT.

Pools are read from --pools and read again when the files change; a change for
the worse is logged and leaves the pools as they were. Several controllers may
run at once.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	o.AddFlags(cmd.Flags(), env)
	return cmd
}

func (o *controllerOptions) run(ctx context.Context, env environment) error {
	log := o.plugin.log.logger(env.err)
	watcher, err := pool.Open(o.pools.pools, log)
	if err != nil {
		return err
	}
	pools := newPools(func(name string) (agents, error) { return env.dial(&o.pools, name) }, log)
	defer pools.close()
	defer watcher.Subscribe(pools.set)()

	identity, err := csi.NewIdentity(csi.IdentityOptions{Name: o.plugin.driver, Version: version, Ready: pools.ready, Log: log})
	if err != nil {
		return err
	}
	server, err := csi.NewServer(ctx, csi.ServerOptions{
		Endpoint:   o.plugin.endpoint,
		Identity:   identity,
		Controller: csi.NewController(withRequestID{lifecycle.New(pools, log)}, log),
		Log:        log,
	})
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "controller starts", "version", version, "endpoint", o.plugin.endpoint, "pools", pools.Names())
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return watcher.Run(ctx) })
	running.Go(func() error { return pools.upkeep(ctx) })
	running.Go(func() error { return server.Serve(ctx) })
	return running.Wait()
}
