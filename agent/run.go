package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"golang.org/x/sync/errgroup"

	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/telemetry"
	"bricklayer.csi/internal/volume"
)

// RunOptions are what an agent is run with.
type RunOptions struct {
	Config  Config
	Version string
	Log     *slog.Logger
	// Cluster is glusterd on this host; nil means the gluster command that the
	// configuration names.
	Cluster gluster.Cluster
	// Telemetry is what the agent tells about itself at MetricsAddress, host:port;
	// nothing where that is empty.
	Telemetry      *telemetry.Telemetry
	MetricsAddress string
}

// Run is the agent: it serves this host's brick roots and glusterd to the
// controllers of its pool, empties the trash, and puts lost quotas right. It
// returns when ctx ends, or at once where it cannot serve. Roots that are not
// mounted and a glusterd that does not run do not keep it from serving: it says
// so when asked, and uses them once they are there.
func Run(ctx context.Context, o RunOptions) error {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("node", o.Config.Node, "pool", o.Config.Pool)
	if o.Telemetry == nil {
		o.Telemetry = telemetry.New(o.Version)
	}
	k := newKeeper(o.Config.TLS)
	local, host, err := assemble(o, k, log)
	if err != nil {
		return err
	}
	server, err := newServer(ServerOptions{Node: local, Name: o.Config.Node, Pool: o.Config.Pool, TLS: o.Config.TLS, Log: log, Calls: o.Telemetry.Calls}, k)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Config.Listen)
	if err != nil {
		return At(o.Config.Node, "start agent", "", &volume.Error{
			Kind: volume.Precondition, Err: err, Next: "another agent may be running, or the address in listen is not this host's",
		})
	}
	expires, _ := k.expires()
	log.InfoContext(ctx, "agent is serving", "listen", listener.Addr().String(), "version", o.Version, "protocol", Protocol,
		"roots", len(o.Config.Roots), "certificate_expires", expires)

	background, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { host.Run(background) })
	all.Go(func() { local.Upkeep(background) })
	serving, ctx := errgroup.WithContext(ctx)
	serving.Go(func() error { return server.Serve(ctx, listener) })
	serving.Go(func() error { return o.Telemetry.Serve(ctx, o.MetricsAddress, local.Ready, log) })
	err = serving.Wait()
	stop()
	all.Wait()
	log.InfoContext(ctx, "agent has stopped")
	return errors.Join(err, host.Close())
}

// assemble puts the brick roots and glusterd of this host together.
func assemble(o RunOptions, k *keeper, log *slog.Logger) (*Local, *brick.Host, error) {
	var local *Local // made last: it needs the roots, which ask it whether a brick is in use
	options := o.Config.brickOptions()
	options.Logger = log
	options.InUse = func(ctx context.Context, path string) (bool, error) { return local.InUse(ctx, path) }
	host, err := brick.New(options)
	if err != nil {
		return nil, nil, err
	}
	if o.Cluster == nil {
		if o.Cluster, err = gluster.NewCLI(gluster.Options{Command: o.Config.GlusterCommand}); err != nil {
			return nil, nil, err
		}
	}
	local, err = NewLocal(LocalOptions{Config: o.Config, Version: o.Version, Bricks: host, Cluster: o.Cluster, Log: log})
	if err != nil {
		return nil, nil, err
	}
	local.certificate = k.expires
	o.Telemetry.Registry.MustRegister(local.answered)
	return local, host, nil
}
