package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/agent/certs"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/volume"
)

// certsOptions say which certificates to make.
type certsOptions struct {
	pools, pool, dir string
	renewBefore      time.Duration
	list             bool
}

// AddFlags adds the flags.
func (o *certsOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.pools, "pool", "", "the StoragePool file (or directory) that names the nodes")
	fs.StringVar(&o.pool, "name", "", "which pool of the file; may be left out where there is one")
	fs.StringVar(&o.dir, "dir", "", "the directory of the CA and the certificates; made where it is missing")
	fs.DurationVar(&o.renewBefore, "renew-before", certs.RenewBefore, "renew what ends sooner than that")
	fs.BoolVar(&o.list, "list", false, "show what is there and when it ends, and make nothing")
}

// Validate checks the flags.
func (o *certsOptions) Validate() error {
	switch {
	case o.dir == "":
		return usagef("--dir is missing: the directory of the CA and the certificates")
	case o.pools == "" && !o.list:
		return usagef("--pool is missing: the StoragePool file that names the nodes")
	case o.renewBefore < 0 || o.renewBefore >= certs.LeafLifetime:
		return volume.NewFieldError("--renew-before", o.renewBefore.String(), "0s up to the lifetime of a certificate, "+certs.LeafLifetime.String())
	}
	return nil
}

// certView is what `certs` shows of a certificate.
type certView struct {
	File string    `json:"file"`
	Name string    `json:"name"`
	Ends time.Time `json:"ends"`
	Made bool      `json:"made"`
}

func newCerts() *cobra.Command {
	var o certsOptions
	var out outputOptions
	cmd := &cobra.Command{
		Use:   "certs --pool FILE --dir DIR",
		Short: "Make or renew a pool's CA and the certificates of its agents and controllers",
		Long: `Make a small certificate authority for a pool, and a certificate for each of its
agents and for its controllers. What is there and good is left alone, so the
command can run every day: it makes what is missing and renews what ends soon.
Agents and controllers read new files without a restart.

  DIR/ca.crt, DIR/ca.key              the CA; its key belongs on no storage node
  DIR/controller/{ca.crt,tls.crt,tls.key}
  DIR/NODE/{ca.crt,tls.crt,tls.key}   to be copied to that node`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			entries, err := o.run()
			if err != nil {
				return err
			}
			views := make([]certView, len(entries))
			for i, e := range entries {
				views[i] = certView{File: e.Path, Name: e.Name, Ends: e.NotAfter.UTC(), Made: e.Made}
			}
			return out.write(cmd.OutOrStdout(), views, func(w io.Writer) { writeCerts(w, views) })
		},
	}
	o.AddFlags(cmd.Flags())
	out.AddFlags(cmd.Flags())
	return cmd
}

func (o *certsOptions) run() ([]certs.Entry, error) {
	if o.list {
		return certs.List(o.dir)
	}
	pools, err := pool.Load(o.pools)
	if err != nil {
		return nil, err
	}
	p, err := pick(pools, "--name", o.pool)
	if err != nil {
		return nil, err
	}
	wanted := certs.Options{Dir: o.dir, Pool: p.Name, RenewBefore: o.renewBefore}
	for _, n := range p.Spec.Nodes {
		wanted.Nodes = append(wanted.Nodes, certs.Node{Name: n.Name, Addresses: []string{n.Address}})
	}
	return certs.Make(wanted)
}

// pick returns the pool of that name, or the only one where the name is empty.
func pick(pools []v1alpha1.StoragePool, flag, name string) (v1alpha1.StoragePool, error) {
	names := make([]string, len(pools))
	for i, p := range pools {
		if names[i] = p.Name; p.Name == name || name == "" && len(pools) == 1 {
			return p, nil
		}
	}
	return v1alpha1.StoragePool{}, volume.NewFieldError(flag, name, "one of "+list(names))
}

func writeCerts(w io.Writer, views []certView) {
	fmt.Fprint(w, row("FILE", "NAME", "ENDS", "NEW"))
	for _, v := range views {
		made := ""
		if v.Made {
			made = "new"
		}
		fmt.Fprint(w, row(v.File, v.Name, v.Ends.Format(time.DateOnly), made))
	}
}
