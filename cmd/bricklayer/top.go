package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/top"
	"bricklayer.csi/internal/volume"
)

// topOptions say what is looked at, and how often.
type topOptions struct {
	pools             poolsOptions
	interval, timeout time.Duration
	once              bool
	log               logOptions
	out               outputOptions
}

// minInterval keeps a slip from making a storm of questions.
const minInterval = 500 * time.Millisecond

// AddFlags adds the flags.
func (o *topOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	o.pools.AddFlags(fs, env)
	fs.DurationVar(&o.interval, "interval", 2*time.Second, "how long to wait between two looks")
	fs.DurationVar(&o.timeout, "timeout", 3*time.Second, "how long a node or a heketi may take for an answer, before it is shown as unknown")
	fs.BoolVar(&o.once, "once", false, "look once and end, as it does where the output is no terminal")
	o.log.level = "error" // what was seen is the result
	o.log.AddFlags(fs)
	o.out.AddFlags(fs)
}

// Validate checks the flags. Terminal is whether the output is one.
func (o *topOptions) Validate(terminal bool) error {
	o.once = o.once || !terminal
	switch {
	case o.interval < minInterval:
		return volume.NewFieldError("--interval", o.interval.String(), minInterval.String()+" or more")
	case o.timeout <= 0:
		return volume.NewFieldError("--timeout", o.timeout.String(), "a time above zero, such as 3s")
	}
	for _, check := range []func() error{o.pools.Validate, o.log.Validate, o.out.Validate} {
		if err := check(); err != nil {
			return err
		}
	}
	if o.out.format != "table" && !o.once {
		return usagef("--output %s needs --once: on a terminal a table is shown again and again", o.out.format)
	}
	return nil
}

func newTop(env environment) *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show pools, storage nodes and volumes, and what changes",
		Long: `Show pools, storage nodes and volumes, again and again, until SIGINT (Ctrl-C).

Of each pool: what is there, promised and free, and volumes by kind. Of each
storage node: whether its agent and its glusterd answer, memory, load, brick
directories and processes, how full its roots are, and how much more they hold
than at the last look (what was freed taken off). Below, what is not as it should
be. "?" is what is not known: of a node that does not answer in time, and
pressure where the kernel does not tell.

Pools are read from files, once.`,
		Example: `  bricklayer top --pools pool.yaml --certs certs
  bricklayer top --once -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(isTerminal(env.out)); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	o.AddFlags(cmd.Flags(), env)
	return cmd
}

// isTerminal reports whether what is written there is shown at once to a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (o *topOptions) run(ctx context.Context, env environment) error {
	resources, err := pool.Load(o.pools.pools)
	if err != nil {
		return err
	}
	served := newPools(func(name string) (agents, error) { return env.dial(&o.pools, name) }, o.log.logger(env.err))
	defer served.close()
	served.set(resources)
	var watched []top.Watched
	for _, r := range resources {
		if members, ok := served.members(r.Name); ok {
			watched = append(watched, top.Watched{Resource: r, Members: members})
		}
	}
	var w top.Watcher
	look := func(ctx context.Context) top.View { return w.Look(ctx, watched, o.timeout) }
	if o.once {
		v := look(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var failed error
		err := o.out.write(env.out, v, func(w io.Writer) { failed = v.Text(w) })
		if err == nil {
			err = failed
		}
		return err
	}
	return o.watch(ctx, env.out, look)
}

// clearScreen puts the cursor at the top left and clears what is below.
const clearScreen = "\x1b[H\x1b[2J"

// watch shows what look sees until ctx ends.
func (o *topOptions) watch(ctx context.Context, out io.Writer, look func(context.Context) top.View) error {
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for {
		v := look(ctx)
		if ctx.Err() != nil {
			return nil // what was seen then is the end, not the pools
		}
		fmt.Fprint(out, clearScreen)
		if err := v.Text(out); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
