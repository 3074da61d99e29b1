package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/bench"
	benchreport "bricklayer.csi/bench/report"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/volume"
)

// provisionOptions are the flags of bench provision.
type provisionOptions struct {
	benchOptions

	volumes, concurrency int
	existing             string
}

// AddFlags adds the flags.
func (o *provisionOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	fs.StringArrayVarP(&o.targets, "target", "t", nil, "a target NAME=class:FILE with a StorageClass; may be given several times")
	fs.StringVar(&o.baseline, "baseline", "", `the target that others are compared with; "hand" makes one: bare gluster commands on the storage nodes (the last target where it is left out)`)
	fs.StringVar(&o.nodeExec, "node-exec", "", `a command that runs a shell on a storage node, such as "ssh root@{address}" ({node} is its name in the pool): for --baseline hand, and to see how busy the nodes are`)
	fs.StringVar(&o.size, "size", "1GiB", "the size of each volume; expanded to twice that")
	fs.IntVar(&o.volumes, "volumes", 4, "how many volumes are made, expanded and deleted in each round")
	fs.IntVar(&o.concurrency, "concurrency", 1, "how many of them at once")
	fs.StringVar(&o.existing, "existing", "0", "how many volumes of the first target stand by while it is measured; of several numbers, such as 10,100,500, each has its own rounds")
	fs.IntVar(&o.rounds, "rounds", 6, "how many rounds count")
	fs.IntVar(&o.warmUp, "warm-up", 1, "how many rounds are run before them and dropped")
	fs.StringVar(&o.mountDir, "mount-dir", "", "where each volume is mounted once on this host, which is measured too, as publish; not where it is left out")
	o.mounts.AddFlags(fs)
	fs.StringVar(&o.out, "out", "", "the directory for the result and its reports (default bench-TIME)")
	fs.StringVar(&o.note, "note", "", "a note for the report")
	o.pools.AddFlags(fs, env)
	o.log.level = "warn" // progress is what people want to see
	o.log.AddFlags(fs)
}

func newBenchProvision(env environment) *cobra.Command {
	var o provisionOptions
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Compare how long volumes take to create, mount, expand and delete",
		Long: `Compare how long volumes take to create, mount, expand and delete, by the calls that
serve Kubernetes, class beside class and beside bare gluster commands. They are
mounted, as a node does for a pod, where --mount-dir says where.

Of the bare commands only the commands themselves are counted, by the clock of the
node that runs them: the least that they can take.

Of classes with lvm "false" the result says where a volume's time went: waiting for
a turn, looking, brick directories, each gluster command, and the rest. With several
numbers for --existing it shows how times grow with the volumes that are there.`,
		Example: `  bricklayer bench provision -t plain=class:plain.yaml -t lvm=class:lvm.yaml \
      --baseline hand --node-exec 'ssh root@{address}' --concurrency 4`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now().UTC()
			if o.out == "" {
				o.out = now.Format("bench-20060102-150405")
			}
			env.dial = timedDial(env.dial)
			b := &benchTargets{options: &o.benchOptions, env: env, run: now.Format("bench-20060102150405"), done: func() {}}
			if err := o.log.Validate(); err != nil {
				return err
			}
			err := b.open()
			defer func() { b.done() }()
			if err != nil {
				return err
			}
			plan, err := o.provisionPlan(b)
			if err != nil {
				return err
			}
			return provisionRun(cmd.Context(), cmd, plan, o.out)
		},
	}
	o.AddFlags(cmd.Flags(), env)
	return cmd
}

func (o *provisionOptions) provisionPlan(b *benchTargets) (bench.ProvisionPlan, error) {
	plan := bench.ProvisionPlan{
		Rounds: o.rounds, WarmUp: o.warmUp, Volumes: o.volumes, Concurrency: o.concurrency,
		Run: b.run, Baseline: o.baseline, Note: o.note, Version: version,
	}
	for _, n := range b.nodes {
		plan.Nodes = append(plan.Nodes, n.host)
	}
	var err error
	if o.mountDir != "" {
		if err = b.openMounts(); err != nil {
			return plan, err
		}
		plan.Mounts = b.mounts
	}
	if plan.Existing, err = bench.ParseExisting("--existing", o.existing); err != nil {
		return plan, err
	}
	size, err := o.sizeOf()
	if err != nil {
		return plan, err
	}
	typ := volume.Type{}
	for _, text := range o.targets {
		name, rest, _ := strings.Cut(text, "=")
		file, ok := strings.CutPrefix(rest, "class:")
		if !ok {
			return plan, volume.NewFieldError("--target", text, "NAME=class:FILE")
		}
		class, err := readClass(file)
		if err != nil {
			return plan, &usageError{err: fmt.Errorf("--target %s: %w", text, err)}
		}
		maker, err := bench.NewClassMaker(name, class, size, patient{b.service})
		if err != nil {
			return plan, &usageError{err: fmt.Errorf("--target %s: %w", text, err)}
		}
		if typ == (volume.Type{}) {
			typ = maker.Type()
		}
		plan.Makers = append(plan.Makers, maker)
	}
	if o.baseline == hand && len(plan.Makers) > 0 {
		maker, err := o.handMaker(b, typ)
		if err != nil {
			return plan, &usageError{err: err}
		}
		plan.Makers = append(plan.Makers, maker)
	}
	if err := plan.Check(); err != nil {
		return plan, &usageError{err: err}
	}
	return plan, nil
}

// handMaker makes volumes of the first target's type on the first roots of the
// first pool that has nodes.
func (o *provisionOptions) handMaker(b *benchTargets, typ volume.Type) (bench.Maker, error) {
	if len(b.nodes) == 0 {
		return nil, usagef("--baseline hand needs --node-exec: bare commands run on the storage nodes")
	}
	resources, err := pool.Load(o.pools.pools)
	if err != nil {
		return nil, err
	}
	var nodes []bench.HandNode
	for _, r := range resources {
		if len(r.Spec.Nodes) == 0 || nodes != nil {
			continue
		}
		for i, n := range r.Spec.Nodes {
			nodes = append(nodes, bench.HandNode{Address: n.Address, Root: n.Roots[0].Path, Host: b.nodes[i].host})
		}
	}
	return bench.NewHandMaker(hand, typ, nodes)
}

func provisionRun(ctx context.Context, cmd *cobra.Command, plan bench.ProvisionPlan, dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the directory of the result: %w", err)
	}
	file := filepath.Join(dir, resultFile)
	errs := cmd.ErrOrStderr()
	r, err := bench.Provision(ctx, plan, bench.Hooks{
		Progress: func(p bench.Progress) { fmt.Fprintln(errs, benchreport.Progress(p)) },
		Save:     func(r bench.Result) error { return r.Write(file) },
	})
	return finish(cmd, r, err, dir)
}
