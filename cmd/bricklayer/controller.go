package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"bricklayer.csi/csi"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/provisioner"
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

// addMetricsFlag adds the flag that all services share.
func addMetricsFlag(fs *pflag.FlagSet, to *string) {
	fs.StringVar(to, "metrics-address", "", "serve /metrics, /healthz and /readyz over HTTP on this address, such as :9808, to whoever asks; nothing is served where it is left out")
}

// Validate checks the flags; the endpoint and the name are the CSI server's to check.
func (o *pluginOptions) Validate() error { return o.log.Validate() }

// controllerOptions are those of the controller.
type controllerOptions struct {
	plugin  pluginOptions
	pools   poolsOptions
	source  sourceOptions
	kube    kubeOptions
	metrics string
}

// AddFlags adds the flags.
func (o *controllerOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	o.plugin.AddFlags(fs)
	o.pools.AddFlags(fs, env)
	o.source.AddFlags(fs)
	o.kube.AddFlags(fs)
	addMetricsFlag(fs, &o.metrics)
}

// Validate checks the flags.
func (o *controllerOptions) Validate() error {
	if err := o.plugin.Validate(); err != nil {
		return err
	}
	if o.plugin.endpoint == "" && !o.kube.enabled() {
		return usagef("--endpoint is empty, and neither --kubernetes nor --kubeconfig is given: there would be nothing to do")
	}
	if err := o.kube.Validate(); err != nil {
		return err
	}
	if err := o.source.Validate(&o.kube); err != nil {
		return err
	}
	return o.pools.Validate()
}

func newController(env environment) *cobra.Command {
	var o controllerOptions
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Create, expand, list and delete volumes: serve the CSI controller, provision for Kubernetes",
		Long: `Serve the CSI controller on a socket until SIGTERM or SIGINT, and, with
--kubernetes or --kubeconfig, be the provisioner of a Kubernetes cluster: claims
of the driver's StorageClasses become PersistentVolumes without a sidecar. An
empty --endpoint leaves the socket out.

Pools are read from --pools and read again when the files change; a change for
the worse is logged and leaves the pools as they were. With --pools-from=api they
are StoragePool objects of the Kubernetes cluster instead, and the controller
that holds the lease tells in their status how they are. Several controllers may
run at once: all serve CSI, the one that holds the lease provisions.`,
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
	client, err := o.kube.client(env)
	if err != nil {
		return err
	}
	source, objects, err := o.open(ctx, env, log)
	if err != nil {
		return err
	}
	pools := newPools(func(name string) (agents, error) { return env.dial(&o.pools, name) }, log)
	if client != nil {
		pools.secrets = provisioner.Secrets{Client: client}
	}
	pools.mayBeNone = objects != nil
	defer pools.close()
	defer source.Subscribe(pools.set)()

	stop, err := env.sendTraces(ctx, "controller", log)
	if err != nil {
		return err
	}
	defer stop()
	metrics := newControllerMetrics()
	metrics.Registry.MustRegister(guardCollector{pools})
	volumes := measured{lifecycle.New(pools, log), metrics}
	server, err := o.server(ctx, pools, volumes, metrics, log)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "controller starts", "version", version, "endpoint", o.plugin.endpoint, "kubernetes", client != nil, "pools", pools.Names())
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return source.Run(ctx) })
	running.Go(func() error { return pools.upkeep(ctx) })
	if server != nil {
		running.Go(func() error { return server.Serve(ctx) })
	}
	beside := []func(context.Context){metrics.leads}
	switch {
	case objects != nil:
		beside = append(beside, func(ctx context.Context) { objects.look(ctx, client, pools, &metrics.pools, log) })
	case o.metrics != "":
		beside = append(beside, metrics.watch(pools))
	}
	if client != nil {
		running.Go(func() error {
			return o.kube.provision(ctx, env, client, o.plugin.driver, volumes, metrics.Registry, log, beside...)
		})
	} else {
		running.Go(func() error { together(beside)(ctx); return nil })
	}
	running.Go(func() error { return metrics.Serve(ctx, o.metrics, pools.ready, log) })
	return running.Wait()
}

// server returns the CSI server, or nil where none is wanted.
func (o *controllerOptions) server(ctx context.Context, pools *pools, volumes csi.Volumes, metrics *controllerMetrics, log *slog.Logger) (*csi.Server, error) {
	if o.plugin.endpoint == "" {
		return nil, nil
	}
	identity, err := csi.NewIdentity(csi.IdentityOptions{Name: o.plugin.driver, Version: version, Ready: pools.ready, Log: log})
	if err != nil {
		return nil, err
	}
	return csi.NewServer(ctx, csi.ServerOptions{
		Endpoint:   o.plugin.endpoint,
		Identity:   identity,
		Controller: csi.NewController(withRequestID{volumes}, log),
		Calls:      metrics.Calls,
		Log:        log,
	})
}
