package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"bricklayer.csi/csi"
	"bricklayer.csi/internal/kubelet"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mountd"
	"bricklayer.csi/internal/podevents"
	"bricklayer.csi/internal/telemetry"
)

// nodeOptions are those of the node service.
type nodeOptions struct {
	plugin pluginOptions
	mounts mountOptions
	id     string
	// mountService is the endpoint of the mount service, registration the
	// directory in which kubelet looks for drivers; empty for none.
	mountService, registration string
	podEvents                  bool
	metrics                    string
	kube                       kubeOptions
}

// AddFlags adds the flags.
func (o *nodeOptions) AddFlags(fs *pflag.FlagSet) {
	o.plugin.AddFlags(fs)
	o.mounts.AddFlags(fs)
	fs.StringVar(&o.id, "node-id", "", "the node's name, as the orchestrator knows it; the host's name where it is left out")
	fs.StringVar(&o.mountService, "mount-service", "", "the socket of 'bricklayer mountd', unix:///PATH, which then makes all mounts; without it this process does")
	fs.StringVar(&o.registration, "kubelet-registration-dir", "", "register with kubelet in this directory, commonly /var/lib/kubelet/plugins_registry; without it something else must")
	addMetricsFlag(fs, &o.metrics)
	fs.BoolVar(&o.podEvents, "pod-events", false, "send an event on each pod of this node whose mount is dead; --node-id must be the node's name in Kubernetes")
	fs.StringVar(&o.kube.kubeconfig, "kubeconfig", "", "for --pod-events: the Kubernetes cluster of this kubeconfig file; the one that this runs in where it is left out")
}

// Validate checks the flags; the node's name is the CSI service's to check.
func (o *nodeOptions) Validate() error { return o.plugin.Validate() }

func newNode(env environment) *cobra.Command {
	var o nodeOptions
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Serve the CSI node service: mount volumes on this host",
		Long: `Serve the CSI node service on a socket until SIGTERM or SIGINT.

It must run as root and see the mounts of whoever uses the volumes. It needs
neither pools nor certificates: what a mount takes is in the volume's context.

The glusterfs clients belong to 'bricklayer mountd' where --mount-service names
it, and this process can be restarted at any time. Without it they are children
of this process, which needs the glusterfs client, must share the mount namespace
or propagate its mounts, and takes them with it when its container ends.

With --kubelet-registration-dir it tells kubelet of itself. Kubelet must reach
the socket of --endpoint at the same path. With --pod-events it needs the right to
list pods and to create events.

With --metrics-address it says there how the calls go that it serves, how many
volumes are mounted, and whether this host can mount (/readyz).`,
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
	mounter, done, err := o.mounter(log)
	if err != nil {
		return err
	}
	defer done()
	node, err := csi.NewNode(csi.NodeOptions{ID: o.id, Mounts: mounter, Log: log})
	if err != nil {
		return err
	}
	identity, err := csi.NewIdentity(csi.IdentityOptions{Name: o.plugin.driver, Version: version, Ready: mounter.Ready, Log: log})
	if err != nil {
		return err
	}
	events, err := o.events(env, mounter, log)
	if err != nil {
		return err
	}
	stop, err := env.sendTraces(ctx, "node", log)
	if err != nil {
		return err
	}
	defer stop()
	metrics := telemetry.New(version)
	metrics.Registry.MustRegister(mountCollector{node, log})
	server, err := csi.NewServer(ctx, csi.ServerOptions{Endpoint: o.plugin.endpoint, Identity: identity, Node: node, Log: log, Calls: metrics.Calls})
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "node service starts", "version", version, "endpoint", o.plugin.endpoint, "node", o.id)
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return reap(ctx, log) })
	running.Go(func() error { return server.Serve(ctx) })
	running.Go(func() error { return o.register(ctx, log) })
	running.Go(func() error { return metrics.Serve(ctx, o.metrics, mounter.Ready, log) })
	if events != nil {
		running.Go(func() error { return events.Run(ctx) })
	}
	return running.Wait()
}

// events returns what tells pods of dead mounts, or nil where nobody wants it.
func (o *nodeOptions) events(env environment, mounts mount.Mounter, log *slog.Logger) (*podevents.Watcher, error) {
	if !o.podEvents {
		return nil, nil
	}
	o.kube.on = true
	client, err := o.kube.client(env)
	if err != nil {
		return nil, err
	}
	return podevents.New(podevents.Options{Node: o.id, Driver: o.plugin.driver, Mounts: mounts, Client: client, Log: log})
}

// mounter returns what makes the mounts.
func (o *nodeOptions) mounter(log *slog.Logger) (m mount.Mounter, done func(), err error) {
	if o.mountService == "" {
		m, err = o.mounts.mounter(log)
		return m, func() {}, err
	}
	client, err := mountd.Dial(o.mountService)
	if err != nil {
		return nil, nil, err
	}
	return client, func() { _ = client.Close() }, nil // at the process's end
}

// register tells kubelet of the driver, once its socket is open.
func (o *nodeOptions) register(ctx context.Context, log *slog.Logger) error {
	if o.registration == "" {
		return nil
	}
	r, err := kubelet.NewRegistration(ctx, kubelet.Options{
		Dir: o.registration, Driver: o.plugin.driver, Endpoint: o.plugin.endpoint, Log: log,
	})
	if err != nil {
		return err
	}
	return r.Serve(ctx)
}
