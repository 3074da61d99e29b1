package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/volume"
)

// poolStatusView is what `pool status` shows of a pool.
type poolStatusView struct {
	Name          string           `json:"name"`
	MaxOperations int              `json:"maxOperations"`
	Nodes         []nodeStatusView `json:"nodes"`
}

// nodeStatusView is what a storage node has for further bricks. What is nil is not known.
type nodeStatusView struct {
	Name            string   `json:"name"`
	Bricks          int      `json:"bricks"`
	MemoryAvailable *int64   `json:"memoryAvailableBytes"`
	MemoryTotal     *int64   `json:"memoryTotalBytes"`
	MemoryPressure  *float64 `json:"memoryPressurePercent"`
	// Room is how many more bricks the guard lets it take now, as far as it knows.
	Room *int `json:"room"`
	// Problem is why it takes none.
	Problem string `json:"problem,omitempty"`
	// silent is true where its agent does not answer.
	silent bool
}

// poolStatusOptions say which pools are asked.
type poolStatusOptions struct {
	pools   poolsOptions
	timeout time.Duration
	log     logOptions
	out     outputOptions
}

// AddFlags adds the flags.
func (o *poolStatusOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	o.pools.AddFlags(fs, env)
	fs.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long the agents may take to answer")
	o.log.level = "error" // what was found is the result
	o.log.AddFlags(fs)
	o.out.AddFlags(fs)
}

// Validate checks the flags.
func (o *poolStatusOptions) Validate() error {
	if o.timeout <= 0 {
		return volume.NewFieldError("--timeout", o.timeout.String(), "a time above zero, such as 10s")
	}
	for _, check := range []func() error{o.pools.Validate, o.log.Validate, o.out.Validate} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func newPoolStatus(env environment) *cobra.Command {
	var o poolStatusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the storage nodes have for further bricks",
		Long: `Ask the agents of the pools what their nodes have for further bricks: how many
there are, memory, how much tasks wait for it, and how many more the pool's guard
(spec.guard) lets each node take now. "?" is what a node does not tell, and then
no reason to refuse. Where no node takes any, new volumes are refused.

What a controller holds itself is not seen from here: operations that run and
wait, and whether its breaker is open, are in its metrics (bricklayer_guard_...),
and, where pools are objects of Kubernetes, in the condition Degraded.`,
		Example: `  bricklayer pool status
  bricklayer pool status --output json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			views, err := o.ask(cmd.Context(), env)
			if err != nil {
				return err
			}
			if err := o.out.write(cmd.OutOrStdout(), views, func(w io.Writer) { writePoolStatus(w, views) }); err != nil {
				return err
			}
			return silentNodes(views)
		},
	}
	o.AddFlags(cmd.Flags(), env)
	return cmd
}

// ask asks all nodes of all pools at once.
func (o *poolStatusOptions) ask(ctx context.Context, env environment) ([]poolStatusView, error) {
	resources, err := pool.Load(o.pools.pools)
	if err != nil {
		return nil, err
	}
	p := newPools(func(name string) (agents, error) { return env.dial(&o.pools, name) }, o.log.logger(env.err))
	defer p.close()
	p.set(resources)
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	served := p.snapshot()
	views := make([]poolStatusView, len(resources))
	var all sync.WaitGroup
	for i := range resources {
		s := served[resources[i].Name]
		if s.err != nil {
			return nil, &volume.Error{Kind: volume.Unavailable, Op: "reach agents", On: "pool " + resources[i].Name, Err: s.err}
		}
		views[i] = poolStatusView{Name: resources[i].Name, MaxOperations: s.resource.Spec.MaxOperations, Nodes: make([]nodeStatusView, len(s.resource.Spec.Nodes))}
		if s.plain == nil {
			continue // its heketi places bricks itself
		}
		budget := guard.SettingsOf(&s.resource.Spec).Budget
		for j, n := range s.plain.Nodes {
			all.Go(func() {
				d, err := n.Agent.Describe(ctx)
				views[i].Nodes[j] = nodeStatusViewOf(n.Name, budget, d, err)
			})
		}
	}
	all.Wait()
	return views, nil
}

func nodeStatusViewOf(name string, budget guard.Budget, d agent.Description, err error) nodeStatusView {
	v := nodeStatusView{Name: name}
	if err != nil {
		v.silent, v.Problem = true, errNoAnswer.Error()+": "+err.Error()
		return v
	}
	v.Bricks = guard.BricksOf(d)
	if d.MemoryTotal > 0 {
		v.MemoryAvailable, v.MemoryTotal = &d.MemoryAvailable, &d.MemoryTotal
	}
	if d.MemoryPressure >= 0 {
		v.MemoryPressure = &d.MemoryPressure
	}
	if room, bounded := budget.Room(d); bounded {
		v.Room = &room
	}
	v.Problem = budget.Shortage(d, 0).String()
	if !d.GlusterdReady {
		v.Room, v.Problem = new(0), "glusterd does not answer"
	}
	return v
}

var errNoAnswer = errors.New("its agent does not answer")

func writePoolStatus(w io.Writer, views []poolStatusView) {
	fmt.Fprint(w, row("POOL", "NODE", "BRICKS", "MEMORY AVAILABLE", "MEMORY", "WAITING FOR MEMORY", "ROOM FOR BRICKS"))
	for _, v := range views {
		for _, n := range v.Nodes {
			fmt.Fprint(w, row(v.Name, n.Name, strconv.Itoa(n.Bricks), known(n.MemoryAvailable, sizeOf), known(n.MemoryTotal, sizeOf),
				known(n.MemoryPressure, func(p float64) string { return fmt.Sprintf("%.0f %%", p) }), known(n.Room, strconv.Itoa)))
		}
	}
	for _, v := range views {
		for _, n := range v.Nodes {
			if n.Problem != "" {
				fmt.Fprintf(w, "pool %s: node %s takes no further brick: %s\n", v.Name, n.Name, n.Problem)
			}
		}
	}
}

func sizeOf(bytes int64) string { return strconv.FormatInt(bytes>>20, 10) + "MiB" }

// known shows a value, or that it is not known.
func known[T any](v *T, show func(T) string) string {
	if v == nil {
		return "?"
	}
	return show(*v)
}

// silentNodes is the error that a status ends with where nodes did not answer.
func silentNodes(views []poolStatusView) error {
	for _, v := range views {
		for _, n := range v.Nodes {
			if n.silent {
				return &volume.Error{Kind: volume.Unavailable, Op: "ask storage nodes", On: "pool " + v.Name + ", node " + n.Name, Err: errNoAnswer, Next: "see the lines above"}
			}
		}
	}
	return nil
}
