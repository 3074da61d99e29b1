package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"bricklayer.csi/internal/pool"
)

// poolView is what `pool check` shows of a pool.
type poolView struct {
	Name           string   `json:"name"`
	Nodes          int      `json:"nodes"`
	Zones          int      `json:"zones"`
	Roots          int      `json:"roots"`
	ClientNetworks []string `json:"clientNetworks"`
	Warnings       []string `json:"warnings,omitempty"`
}

func newPool() *cobra.Command {
	cmd := group("pool", "Look at StoragePool files")
	cmd.AddCommand(newPoolCheck())
	return cmd
}

func newPoolCheck() *cobra.Command {
	var out outputOptions
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a StoragePool file, or a directory of them",
		Long: `Check a StoragePool file, or the .yaml and .yml files of a directory.

Every fault is named with its file, field, value and what is allowed. No host
is asked: a pool that passes can still name nodes that do not exist.`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			views, err := checkPools(args[0])
			if err != nil {
				return err
			}
			return out.write(cmd.OutOrStdout(), views, func(w io.Writer) { writePools(w, views) })
		},
	}
	out.AddFlags(cmd.Flags())
	return cmd
}

func checkPools(path string) ([]poolView, error) {
	pools, err := pool.Load(path)
	if err != nil {
		return nil, err
	}
	views := make([]poolView, 0, len(pools))
	for _, p := range pools {
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
		views = append(views, v)
	}
	return views, nil
}

func writePools(w io.Writer, views []poolView) {
	fmt.Fprint(w, row("POOL", "NODES", "ZONES", "ROOTS", "CLIENT NETWORKS"))
	for _, v := range views {
		fmt.Fprint(w, row(v.Name, strconv.Itoa(v.Nodes), strconv.Itoa(v.Zones), strconv.Itoa(v.Roots), list(v.ClientNetworks)))
	}
	for _, v := range views {
		for _, warning := range v.Warnings {
			fmt.Fprintf(w, "warning: pool %s: %s\n", v.Name, warning)
		}
	}
}
