package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/volume"
)

// poolView is what `pool check` shows of a pool.
type poolView struct {
	Name           string   `json:"name"`
	Nodes          int      `json:"nodes"`
	Zones          int      `json:"zones"`
	Roots          int      `json:"roots"`
	ClientNetworks []string `json:"clientNetworks"`
	Warnings       []string `json:"warnings,omitempty"`
	// Heketi is nil where the pool names none.
	Heketi *heketiView `json:"heketi,omitempty"`
}

func newPool(env environment) *cobra.Command {
	cmd := group("pool", "Look at StoragePool files, and at what the nodes of pools have left")
	cmd.AddCommand(newPoolCheck(env), newPoolStatus(env))
	return cmd
}

// poolCheckOptions say what is asked beside the files.
type poolCheckOptions struct {
	pools   poolsOptions
	offline bool
	timeout time.Duration
	log     logOptions
	out     outputOptions
}

// AddFlags adds the flags.
func (o *poolCheckOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	fs.StringVar(&o.pools.certs, "certs", env.orElse("BRICKLAYER_CERTS", "/etc/bricklayer/certs"),
		"the directory with the controller's certificate for the agents, as for the controller (environment: BRICKLAYER_CERTS)")
	fs.BoolVar(&o.offline, "offline", false, "check the files alone and ask nobody")
	fs.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long a pool's heketi and its agents may take to answer")
	o.log.level = "error" // what was found is the result
	o.log.AddFlags(fs)
	o.out.AddFlags(fs)
}

// Validate checks the flags.
func (o *poolCheckOptions) Validate() error {
	if o.timeout <= 0 {
		return volume.NewFieldError("--timeout", o.timeout.String(), "a time above zero, such as 30s")
	}
	for _, check := range []func() error{o.pools.Validate, o.log.Validate, o.out.Validate} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func newPoolCheck(env environment) *cobra.Command {
	var o poolCheckOptions
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a StoragePool file, or a directory of them",
		Long: `Check a StoragePool file, or the .yaml and .yml files of a directory.

Every fault is named with its file, field, value and what is allowed.

Where a pool names a heketi, that heketi is asked (not with --offline): whether
it answers and takes the pool's credentials, has the pool's clusters, and has
devices with room that are online; which operations it has left half done; and,
where the pool has agents too, whether its database and Gluster agree. Nothing
is changed. An error means that volumes cannot be made or are in danger (exit
code 1; 5 where heketi does not answer), a warning leaves the exit code at 0.

The storage nodes are not looked over: a pool that passes can still name nodes
that do not exist.`,
		Example: `  bricklayer pool check pool.yaml
  bricklayer pool check --offline /etc/bricklayer/pools`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.pools.pools = args[0]
			if err := o.Validate(); err != nil {
				return err
			}
			views, err := o.check(cmd.Context(), env)
			if err != nil {
				return err
			}
			if err := o.out.write(cmd.OutOrStdout(), views, func(w io.Writer) { writePools(w, views) }); err != nil {
				return err
			}
			return verdict(views)
		},
	}
	o.AddFlags(cmd.Flags(), env)
	return cmd
}

// check reads the files, and asks the pools' heketis.
func (o *poolCheckOptions) check(ctx context.Context, env environment) ([]poolView, error) {
	resources, err := pool.Load(o.pools.pools)
	if err != nil {
		return nil, err
	}
	views := make([]poolView, 0, len(resources))
	for _, r := range resources {
		views = append(views, poolViewOf(r))
	}
	if !o.offline {
		o.askHeketis(ctx, env, resources, views)
	}
	return views, context.Cause(ctx)
}

func poolViewOf(p v1alpha1.StoragePool) poolView {
	v := poolView{Name: p.Name, Nodes: len(p.Spec.Nodes), ClientNetworks: p.Spec.ClientNetworks}
	zones := map[string]bool{}
	for _, n := range p.Spec.Nodes {
		v.Roots += len(n.Roots)
		zone := "zone " + n.Zone
		if n.Zone == "" {
			zone = "node " + n.Name // a node without a zone is one
		}
		zones[zone] = true
	}
	v.Zones = len(zones)
	if len(p.Spec.ClientNetworks) == 0 {
		v.Warnings = append(v.Warnings, "spec.clientNetworks is empty: every host that reaches the storage nodes can mount the volumes")
	}
	return v
}

func writePools(w io.Writer, views []poolView) {
	fmt.Fprint(w, row("POOL", "NODES", "ZONES", "ROOTS", "CLIENT NETWORKS"))
	for _, v := range views {
		fmt.Fprint(w, row(v.Name, strconv.Itoa(v.Nodes), strconv.Itoa(v.Zones), strconv.Itoa(v.Roots), list(v.ClientNetworks)))
	}
	writeHeketis(w, views)
	for _, v := range views {
		for _, warning := range v.Warnings {
			fmt.Fprintf(w, "warning: pool %s: %s\n", v.Name, warning)
		}
		writeFindings(w, v)
	}
}
