package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/bench"
	"bricklayer.csi/bench/fio"
	"bricklayer.csi/bench/stats"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/volume"
)

// benchOptions are the flags of bench io.
type benchOptions struct {
	pools      poolsOptions
	mounts     mountOptions
	kube       kubeOptions
	namespace  string
	log        logOptions
	targets    []string
	baseline   string
	nodeExec   string
	size       string
	mountDir   string
	jobs       string
	chosen     []string
	fileSize   string
	onReady    string
	onDone     string
	rounds     int
	warmUp     int
	duration   time.Duration
	dropCaches bool
	out        string
	configMap  string
	note       string
}

// AddFlags adds the flags.
func (o *benchOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	fs.StringArrayVarP(&o.targets, "target", "t", nil, "a target NAME=KIND:WHERE, see above; may be given several times")
	fs.StringVar(&o.baseline, "baseline", "", `the target that others are compared with; "hand" makes one: a volume made with bare gluster commands, on the roots of the first plain class (the last target where it is left out)`)
	fs.StringVar(&o.nodeExec, "node-exec", "", `a command that runs a shell on a storage node, such as "ssh root@{address}" ({node} is its name in the pool): for --baseline hand, for targets of kind node, and to see how busy the nodes are`)
	fs.StringVar(&o.size, "size", "1GiB", "the size of the volumes that are made")
	fs.StringVar(&o.mountDir, "mount-dir", "/var/lib/bricklayer/bench", "where volumes are mounted for the time")
	fs.StringVar(&o.jobs, "jobs", "", "a directory of job files *.fio; those of the program where it is left out")
	fs.StringArrayVarP(&o.chosen, "job", "j", nil, "run only this job; may be given several times")
	fs.StringVar(&o.fileSize, "file-size", "", "how much each job works on, such as 256MiB; as its file says where it is left out")
	fs.StringVar(&o.onReady, "on-ready", "", "a shell command to run when all targets are ready, before the first round")
	fs.StringVar(&o.onDone, "on-done", "", "a shell command to run after the last round, before what was made is removed")
	fs.IntVar(&o.rounds, "rounds", 8, fmt.Sprintf("how many rounds count; fewer than %d give no verdict", stats.MinRounds))
	fs.IntVar(&o.warmUp, "warm-up", 1, "how many rounds are run before them and dropped")
	fs.DurationVar(&o.duration, "duration", 10*time.Second, "how long each job runs on each target in each round")
	fs.BoolVar(&o.dropCaches, "drop-caches", false, "empty the page caches of this host, and of the nodes with --node-exec, before each run (root)")
	fs.StringVar(&o.out, "out", "", "the directory for the result and its reports (default bench-TIME)")
	fs.StringVar(&o.configMap, "config-map", "", "store the result in this ConfigMap of --namespace as well, which must be there (with --kubeconfig, or --kubernetes in a pod)")
	fs.StringVar(&o.note, "note", "", "a note for the report, such as what disks these are")
	fs.BoolVar(&o.kube.on, "kubernetes", false, "use the Kubernetes cluster that this runs in")
	fs.StringVar(&o.kube.kubeconfig, "kubeconfig", "", "use the Kubernetes cluster of this kubeconfig file")
	fs.StringVar(&o.namespace, "namespace", "default", "the namespace of claims, and of --config-map")
	o.pools.AddFlags(fs, env)
	o.mounts.AddFlags(fs)
	o.log.level = "warn" // progress is what people want to see
	o.log.AddFlags(fs)
}

func newBenchIO(env environment) *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "io",
		Short: "Compare volumes, directories and classes with fio",
		Long: `Compare volumes, directories and classes with fio. Targets are

  NAME=class:FILE        a volume made with the parameters of a StorageClass in a
                         file, and deleted at the end
  NAME=storageclass:NAME a claim on a StorageClass of a Kubernetes cluster, deleted
                         at the end (with --kubeconfig, or --kubernetes in a pod)
  NAME=volume:HANDLE     a volume that is there; its own files are left alone
  NAME=dir:/PATH         a directory of this host, such as a mount
  NAME=node:NODE:/PATH   a directory of a storage node, where fio then runs

Each works in a directory bricklayer-bench, which is removed at the end. Ctrl-C ends
the run, removes what was made, and leaves a report of what was measured by then.

Reads of the jobs that say O_DIRECT go past the page cache of the client. On FUSE
that is all it means: the bricks' own caches answer still, unless --drop-caches
empties them, and even then a page is cold only the first time.`,
		Example: `  bricklayer bench io -t plain=class:plain.yaml -t lvm=class:lvm.yaml \
      --baseline hand --node-exec 'ssh root@{address}'
  bricklayer bench io -t old=dir:/mnt/old -t new=dir:/mnt/new -j 4k-randwrite-fsync`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now().UTC()
			if o.out == "" {
				o.out = now.Format("bench-20060102-150405")
			}
			plan, done, err := o.plan(env, now.Format("bench-20060102150405"))
			if err != nil {
				return err
			}
			defer done()
			if o.configMap == "" {
				return benchRun(cmd.Context(), cmd, plan, o.out)
			}
			return o.storedRun(cmd, env, plan, now)
		},
	}
	o.AddFlags(cmd.Flags(), env)
	return cmd
}

// storedRun runs a plan and stores what came of it in a ConfigMap.
func (o *benchOptions) storedRun(cmd *cobra.Command, env environment, plan bench.Plan, now time.Time) error {
	client, err := o.kube.client(env)
	if err != nil {
		return err
	}
	if client == nil {
		return usagef("--config-map needs --kubeconfig, or --kubernetes in a pod")
	}
	if err := plan.Check(); err != nil {
		return &usageError{err: err}
	}
	store := &benchStore{client: client, namespace: o.namespace, name: o.configMap}
	if err := store.begin(cmd.Context(), now); err != nil {
		return err
	}
	err = benchRun(cmd.Context(), cmd, plan, o.out)
	return errors.Join(err, store.end(cmd.Context(), o.out, err))
}

// plan makes a plan of the flags. done closes what it opened.
func (o *benchOptions) plan(env environment, run string) (_ bench.Plan, done func(), err error) {
	if err := o.log.Validate(); err != nil {
		return bench.Plan{}, nil, err
	}
	jobs, err := jobsOf(o.jobs)
	if err == nil {
		jobs, err = fio.Select(jobs, o.chosen)
	}
	if err == nil && o.fileSize != "" {
		var size volume.Size
		size, err = volume.ParseSize(o.fileSize)
		for i := range jobs {
			jobs[i] = jobs[i].Resize(int64(size))
		}
	}
	if err != nil {
		return bench.Plan{}, nil, &usageError{err: err}
	}
	b := &benchTargets{options: o, env: env, run: run, done: func() {}}
	plan := bench.Plan{
		Jobs: jobs, Rounds: o.rounds, WarmUp: o.warmUp, Duration: o.duration, DropCaches: o.dropCaches,
		Baseline: o.baseline, OnReady: o.onReady, OnDone: o.onDone, Note: o.note, Version: version,
	}
	if plan.Targets, err = b.all(); err != nil {
		b.done()
		return bench.Plan{}, nil, err
	}
	for _, n := range b.nodes {
		plan.Nodes = append(plan.Nodes, n.host)
	}
	return plan, b.done, nil
}

// sizeOf reads --size.
func (o *benchOptions) sizeOf() (volume.Size, error) {
	size, err := volume.ParseSize(o.size)
	if err == nil && size == 0 {
		err = volume.NewFieldError("--size", o.size, "a size above zero")
	}
	return size, err
}

var _ bench.Volumes = patient{}

// patient is a service that gives its callers no more than some time.
type patient struct {
	*lifecycle.Service
}

// volumeWithin bounds how long one volume may take to make or to remove.
const volumeWithin = 5 * time.Minute

// Create implements bench.Volumes.
func (p patient) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	ctx, cancel := context.WithTimeout(ctx, volumeWithin)
	defer cancel()
	return p.Service.Create(ctx, spec)
}
