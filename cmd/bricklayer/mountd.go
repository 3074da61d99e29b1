package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mountd"
	"bricklayer.csi/internal/telemetry"
)

// mountdOptions are those of the mount service.
type mountdOptions struct {
	endpoint string
	metrics  string
	dirs     []string
	mounts   mountOptions
	log      logOptions
}

// AddFlags adds the flags.
func (o *mountdOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.endpoint, "endpoint", "unix:///run/bricklayer/mountd.sock", "the socket to serve mounts on")
	fs.StringArrayVar(&o.dirs, "kubelet-dir", []string{"/var/lib/kubelet"}, "a directory below which volumes may be mounted; may be given several times")
	addMetricsFlag(fs, &o.metrics)
	o.mounts.AddFlags(fs)
	o.log.AddFlags(fs)
}

// Validate checks the flags; endpoint and directories are the service's to check.
func (o *mountdOptions) Validate() error { return o.log.Validate() }

func newMountd(env environment) *cobra.Command {
	var o mountdOptions
	cmd := &cobra.Command{
		Use:   "mountd",
		Short: "Serve mounts on this host to the node service, which can then be restarted at will",
		Long: `Serve mounts on this host to the node service until SIGTERM or SIGINT.

The glusterfs clients are children of this process. A container or unit that ends
takes them with it, and with them every volume mounted on this host: run this in
a pod of its own that no rollout replaces (updateStrategy OnDelete, no memory
limit), or in a systemd unit with KillMode=process, and 'bricklayer node' with
--mount-service. Restart it on a drained host only.

It must run as root, with mount propagation to the host, and needs the glusterfs
client. Only root can reach its socket; it mounts Gluster volumes below the given
directories, and nothing else.`,
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

func (o *mountdOptions) run(ctx context.Context, env environment) error {
	log := o.log.logger(env.err)
	mounter, err := o.mounts.mounter(log)
	if err != nil {
		return err
	}
	if err := mounter.Ready(ctx); err != nil { // the node service's readiness says so too
		log.WarnContext(ctx, "not ready", "reason", err)
	}
	stop, err := env.sendTraces(ctx, "mountd", log)
	if err != nil {
		return err
	}
	defer stop()
	metrics := telemetry.New(version)
	server, err := mountd.NewServer(ctx, mountd.Options{Endpoint: o.endpoint, Dirs: o.dirs, Mounts: mounter, Log: log, Calls: metrics.Calls})
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "mount service starts", "version", version, "endpoint", o.endpoint)
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return reap(ctx, log) })
	running.Go(func() error { return server.Serve(ctx) })
	running.Go(func() error { return metrics.Serve(ctx, o.metrics, mounter.Ready, log) })
	return running.Wait()
}

// reap does the duty of process 1 where this is it: see mount.Reap.
func reap(ctx context.Context, log *slog.Logger) error {
	if os.Getpid() == 1 {
		mount.Reap(ctx, mount.ReapEvery, log)
	}
	return nil
}
