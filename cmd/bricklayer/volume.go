package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/volume"
)

func newVolume(env environment) *cobra.Command {
	cmd := group("volume", "Create, look at, expand, delete and mount volumes")
	cmd.Long = `Create, look at, expand, delete and mount volumes, by the same calls that serve
Kubernetes. A volume is named by its handle (bl1.plain.POOL.NAME) or by the name
that it was created with.

Every command may be repeated: it finds what the first one did and finishes it.`
	cmd.AddCommand(
		newVolumeCreate(env),
		newVolumeList(env),
		newVolumeGet(env),
		newVolumeExpand(env),
		newVolumeDelete(env),
		newVolumeMount(env),
		newVolumeUnmount(env),
	)
	return cmd
}

// volumeOptions are those that all of them share which ask the pool.
type volumeOptions struct {
	pools   poolsOptions
	pool    string
	timeout time.Duration
	log     logOptions
	out     outputOptions
}

// AddFlags adds the flags.
func (o *volumeOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	o.pools.AddFlags(fs, env)
	fs.StringVar(&o.pool, "pool", "", "the volume's pool; may be left out where there is one")
	fs.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long to wait; the same command can then be repeated")
	o.log.level = "warn" // the result is what an administrator wants to see
	o.log.AddFlags(fs)
	o.out.AddFlags(fs)
}

// Validate checks the flags.
func (o *volumeOptions) Validate() error {
	if o.timeout <= 0 {
		return volume.NewFieldError("--timeout", o.timeout.String(), "a time above zero, such as 2m")
	}
	for _, check := range []func() error{o.pools.Validate, o.log.Validate, o.out.Validate} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// session is one command's way to the pools.
type session struct {
	*lifecycle.Service
	pools *pools
	log   *slog.Logger
}

// with opens the pools, calls do within the time that the options give, and
// closes them.
func (o *volumeOptions) with(ctx context.Context, env environment, do func(context.Context, *session) error) error {
	if err := o.Validate(); err != nil {
		return err
	}
	resources, err := pool.Load(o.pools.pools)
	if err != nil {
		return err
	}
	log := o.log.logger(env.err)
	p := newPools(func(name string) (agents, error) { return env.dial(&o.pools, name) }, log)
	defer p.close()
	p.set(resources)
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return do(ctx, &session{Service: lifecycle.New(p, log), pools: p, log: log})
}

// find returns the handle of the volume that an argument names: a handle, or
// the name that a plain volume was created with.
func (o *volumeOptions) find(s *session, argument string) (volume.Handle, error) {
	if strings.Contains(argument, ".") {
		return volume.ParseHandle(argument)
	}
	if err := volume.CheckRequestName(argument); err != nil {
		return volume.Handle{}, err
	}
	name := o.pool
	if names := s.pools.Names(); name == "" {
		if len(names) != 1 {
			return volume.Handle{}, volume.NewFieldError("--pool", "", "one of "+list(names)+", or name the volume by its handle")
		}
		name = names[0]
	}
	if err := volume.CheckPoolName(name); err != nil {
		return volume.Handle{}, err
	}
	return volume.Handle{Backend: volume.Plain, Pool: name, Name: volume.DeriveName("", argument)}, nil
}

// list joins names for people.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
