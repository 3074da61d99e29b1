package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/csi"
	"bricklayer.csi/internal/orphans"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/provisioner"
)

// orphansOptions say where to look and whether to remove what is found.
type orphansOptions struct {
	pools   poolsOptions
	pool    string
	kube    kubeOptions
	driver  string
	remove  bool
	grace   time.Duration
	timeout time.Duration
	log     logOptions
	out     outputOptions
}

// AddFlags adds the flags.
func (o *orphansOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	o.pools.AddFlags(fs, env)
	fs.StringVar(&o.pool, "pool", "", "look at this pool only")
	fs.StringVar(&o.kube.kubeconfig, "kubeconfig", "", "also list volumes for which no PersistentVolume stands in the Kubernetes cluster of this kubeconfig file")
	fs.StringVar(&o.driver, "driver-name", csi.DefaultDriverName, "with --kubeconfig: the name of the CSI driver whose PersistentVolumes count")
	fs.BoolVar(&o.remove, "delete", false, "look a second time after the grace, and remove what both looks found unchanged")
	fs.DurationVar(&o.grace, "grace", 10*time.Minute, "how long to wait between the two looks; longer than any create takes, its repetitions included")
	fs.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long one look, and the removal of one volume's remains, may take")
	o.log.level = "warn" // the result is what an administrator wants to see
	o.log.AddFlags(fs)
	o.out.AddFlags(fs)
}

// Validate checks the flags.
func (o *orphansOptions) Validate() error {
	switch {
	case o.timeout <= 0:
		return volume.NewFieldError("--timeout", o.timeout.String(), "a time above zero, such as 2m")
	case o.grace <= 0:
		return volume.NewFieldError("--grace", o.grace.String(), "a time above zero, such as 10m")
	}
	for _, check := range []func() error{o.pools.Validate, o.log.Validate, o.out.Validate} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func newOrphans(env environment) *cobra.Command {
	var o orphansOptions
	cmd := &cobra.Command{
		Use:   "orphans",
		Short: "List what belongs to nobody in the pools, and remove it",
		Long: `List what belongs to nobody in the pools, and with --delete remove it:

  brick-directory    a brick directory of ours that no Gluster volume uses
  unfinished-volume  a volume whose creation never came to its end
  only-in-heketi     a volume of ours in heketi's database that Gluster has not
  unknown-to-heketi  a volume in Gluster that heketi made for us and forgot: its
                     data are whole, so it is shown and never removed

Volumes that were retained when they were deleted (onDelete "retain") are listed
apart and never removed, and so are, with --kubeconfig, whole volumes for which no
PersistentVolume stands: somebody else may use them. What a node or heketi that does not answer may know
more of is not listed; that it did not answer is said (exit code 5).

Without --delete nothing is changed. A create in progress looks like an orphan,
so --delete looks, waits for the grace, looks again, and removes what both looks
found unchanged, volume by volume, after a last look at each. Data in it are lost.`,
		Example: `  bricklayer orphans
  bricklayer orphans --delete --grace 30m --pool fast`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			run, err := o.open(env)
			if err != nil {
				return err
			}
			defer run.close()
			if !o.remove {
				return run.list(cmd.Context(), cmd.OutOrStdout())
			}
			return run.delete(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.AddFlags(cmd.Flags(), env)
	return cmd
}

// orphansRun is one run of the command over its pools.
type orphansRun struct {
	*orphansOptions
	pools []orphans.Pool
	// claimed asks Kubernetes; nil without.
	claimed func(ctx context.Context) (map[volume.Handle]bool, error)
	// faults are why a part of a pool cannot be looked at.
	faults []error
	log    *slog.Logger
	close  func()
}

// open reads the pools and reaches for what serves them.
func (o *orphansOptions) open(env environment) (*orphansRun, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	resources, err := pool.Load(o.pools.pools)
	if err != nil {
		return nil, err
	}
	if o.pool != "" {
		var names []string
		for _, r := range resources {
			names = append(names, r.Name)
		}
		resources = slices.DeleteFunc(resources, func(r v1alpha1.StoragePool) bool { return r.Name != o.pool })
		if len(resources) == 0 {
			return nil, volume.NewFieldError("--pool", o.pool, "one of "+list(names))
		}
	}
	client, err := o.kube.client(env)
	if err != nil {
		return nil, err
	}
	log := o.log.logger(env.err)
	p := newPools(func(name string) (agents, error) { return env.dial(&o.pools, name) }, log)
	p.set(resources)
	run := &orphansRun{orphansOptions: o, log: log, close: p.close}
	if client != nil {
		run.claimed = func(ctx context.Context) (map[volume.Handle]bool, error) {
			return provisioner.Claimed(ctx, client, o.driver)
		}
	}
	served := p.snapshot()
	for _, name := range p.Names() {
		run.add(name, served[name])
	}
	return run, nil
}

// add takes a pool in. A backend that it should have and has not is a fault, not
// a reason to leave the rest of the pool out.
func (r *orphansRun) add(name string, s servedPool) {
	p := orphans.Pool{Name: name, Claimed: r.claimed}
	if s.plain != nil {
		p.Plain = s.plain
		for _, n := range s.plain.Nodes {
			p.Nodes = append(p.Nodes, orphans.Node{Name: n.Name, Address: n.Address, Agent: n.Agent})
		}
	}
	if s.heketi != nil {
		p.Heketi = s.heketi
	}
	for _, err := range []error{s.err, s.heketiErr} {
		if err != nil {
			r.faults = append(r.faults, &volume.Error{Kind: volume.Unavailable, Op: "look for orphans", On: "pool " + name, Err: err})
		}
	}
	r.pools = append(r.pools, p)
}

// look looks at every pool once.
func (r *orphansRun) look(ctx context.Context) (orphans.Report, error) {
	all := orphans.Report{Unknown: slices.Clone(r.faults)}
	for _, p := range r.pools {
		ctx, cancel := context.WithTimeout(ctx, r.timeout)
		one := p.Look(ctx)
		cancel()
		all.Orphans = append(all.Orphans, one.Orphans...)
		all.Retained = append(all.Retained, one.Retained...)
		all.Unclaimed = append(all.Unclaimed, one.Unclaimed...)
		all.Unknown = append(all.Unknown, one.Unknown...)
	}
	return all, context.Cause(ctx)
}

// remove removes some of the orphans, all of one pool.
func (r *orphansRun) remove(ctx context.Context, entries []orphans.Entry) []error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	i := slices.IndexFunc(r.pools, func(p orphans.Pool) bool { return p.Name == entries[0].Pool })
	return r.pools[i].Remove(ctx, entries...)
}

// outcome is the error that a run ends with, given how many removals failed.
func outcome(seen orphans.Report, failed int) error {
	if failed > 0 {
		return &volume.Error{
			Kind: volume.Precondition, Op: "remove orphans",
			Err: fmt.Errorf("%d could not be removed", failed), Next: "see the results above",
		}
	}
	if seen.Silent() {
		return &volume.Error{
			Kind: volume.Unavailable, Op: "look for orphans",
			Err: errors.New("a part of what was to be looked at did not answer"), Next: "see what is unknown above; repeat the command when it answers",
		}
	}
	return nil
}
