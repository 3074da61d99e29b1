package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/checks"
	"bricklayer.csi/internal/doctor/host"
	"bricklayer.csi/internal/volume"
)

// doctorOptions say what is looked at, and whether it is mended.
type doctorOptions struct {
	site    doctorSiteOptions
	host    bool
	root    string
	only    []string
	probe   []string
	fix     bool
	yes     bool
	verbose bool
	format  string
	timeout time.Duration
}

// AddFlags adds the flags.
func (o *doctorOptions) AddFlags(fs *pflag.FlagSet, env environment) {
	o.site.AddFlags(fs, env)
	fs.BoolVar(&o.host, "host", true, "look at the machine that this runs on; --host=false leaves it out")
	fs.StringVar(&o.root, "root", "", "where the machine's root directory is, for a container that has it mounted: this process changes its root to it")
	fs.StringSliceVar(&o.only, "check", nil, "only these checks, by their IDs")
	fs.StringSliceVar(&o.probe, "probe", nil, "directories on mounted volumes in which to make a file, watch its times for two seconds, and remove it")
	fs.BoolVar(&o.fix, "fix", false, "offer to end what is found on this machine: each change is shown, asked for, written down and can be taken back (doctor undo)")
	fs.BoolVar(&o.yes, "yes", false, "with --fix: do not ask")
	fs.BoolVarP(&o.verbose, "verbose", "v", false, "show checks that found nothing, too")
	fs.StringVarP(&o.format, "output", "o", "table", "how to show the result: table, json or junit")
	fs.DurationVar(&o.timeout, "timeout", doctor.DefaultLimits.Check, "how long one check may take; what is not known by then is unknown")
}

// Validate checks the flags.
func (o *doctorOptions) Validate() error {
	switch o.format {
	case "table", "json", "junit":
	default:
		return volume.NewFieldError("--output", o.format, "table, json or junit")
	}
	if o.timeout <= 0 {
		return volume.NewFieldError("--timeout", o.timeout.String(), "a time above zero, such as 12s")
	}
	if o.yes && !o.fix {
		return usagef("--yes says nothing without --fix")
	}
	if _, unknown := doctor.Select(checks.All(), o.only); unknown != "" {
		return noCheck("--check", unknown)
	}
	return o.site.Validate()
}

func noCheck(field, id string) error {
	var ids []string
	for _, c := range checks.All() {
		ids = append(ids, c.ID)
	}
	return volume.NewFieldError(field, id, strings.Join(ids, ", "))
}

func newDoctor(env environment) *cobra.Command {
	var o doctorOptions
	cmd := group("doctor", "Find the troubles of such clusters before they bite")
	cmd.Long = `Look for troubles that clusters of Kubernetes on Gluster are known to have: on the
machine that this runs on, a worker or a storage node, and with --kubeconfig and
--pools in the cluster and the pools as well.

For each trouble it says what was seen, why it matters and how it is mended. What
could not be looked at is unknown, and never fine. Nothing is changed without --fix.

Exit code 0: nothing was found. 6: warnings. 5: something is unknown. 1: errors.`
	cmd.Example = `  bricklayer doctor
  bricklayer doctor --kubeconfig ~/.kube/config --pools pools.yaml --certs certs
  bricklayer doctor --check bridge-netfilter --fix`
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.Validate(); err != nil {
			return err
		}
		run, err := o.open(cmd.Context(), env)
		if err != nil {
			return err
		}
		defer run.close()
		return run.look(cmd.Context(), cmd.OutOrStdout())
	}
	o.AddFlags(cmd.Flags(), env)
	cmd.AddCommand(newDoctorExplain(), newDoctorUndo(env))
	return cmd
}

// doctorRun is one run over this machine, the cluster and the pools.
type doctorRun struct {
	*doctorOptions
	env    environment
	checks []doctor.Check
	local  *host.Host
	site   *doctor.Site
	close  func()
}

func (o *doctorOptions) open(ctx context.Context, env environment) (*doctorRun, error) {
	local, err := openHost(env, o.root)
	if err != nil {
		return nil, err
	}
	local.Probe = o.probe
	some, _ := doctor.Select(checks.All(), o.only)
	run := &doctorRun{doctorOptions: o, env: env, checks: some, local: local}
	run.site, run.close, err = o.site.open(ctx, env, local)
	return run, err
}

// openHost returns the machine that this runs on, tests' own where they gave one.
func openHost(env environment, root string) (*host.Host, error) {
	if env.host != nil {
		return env.host, nil
	}
	if root != "" {
		if err := changeRoot(root); err != nil {
			return nil, err
		}
	}
	return host.Real()
}

// results runs all checks that have an object.
func (r *doctorRun) results(ctx context.Context) []doctor.Result {
	limits := doctor.Limits{Check: r.timeout, Answer: doctor.DefaultLimits.Answer}
	local, site, nodes := make(chan []doctor.Result, 1), make(chan []doctor.Result, 1), make(chan []doctor.Result, 1)
	go func() { nodes <- r.doctorOptions.site.lookAtNodes(ctx, r.site, r.only) }()
	go func() {
		var found []doctor.Result
		if r.host {
			found = doctor.OnHost(ctx, r.checks, r.local, limits)
		}
		local <- found
	}()
	go func() {
		var found []doctor.Result
		if r.site != nil {
			found = doctor.OnSite(ctx, r.checks, r.site, limits)
		}
		site <- found
	}()
	return slices.Concat(<-local, <-site, <-nodes)
}

// look runs the checks, shows what they found, and mends it if that is asked for.
func (r *doctorRun) look(ctx context.Context, w io.Writer) error {
	results := r.results(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := r.show(w, results); err != nil {
		return err
	}
	if r.fix {
		mended, err := r.mend(ctx, results)
		if err != nil {
			return err
		}
		if mended > 0 {
			results = r.results(ctx)
			fmt.Fprintf(r.env.err, "\nafter %d changes:\n", mended)
			doctor.WriteText(r.env.err, r.checks, results, false)
		}
	}
	return doctorVerdict(doctor.Worst(results))
}

func (r *doctorRun) show(w io.Writer, results []doctor.Result) error {
	switch r.format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Status  doctor.Status   `json:"status"`
			Results []doctor.Result `json:"results"`
		}{doctor.Worst(results), results})
	case "junit":
		return doctor.WriteJUnit(w, results)
	}
	doctor.WriteText(w, r.checks, results, r.verbose)
	return nil
}

// doctorError is what the doctor found, as an exit code.
type doctorError struct {
	code int
	err  error
}

func (e *doctorError) Error() string { return e.err.Error() }
func (e *doctorError) Unwrap() error { return e.err }

func doctorVerdict(worst doctor.Status) error {
	switch worst {
	case doctor.StatusError:
		return &doctorError{exitFailed, errors.New("it found errors")}
	case doctor.StatusUnknown:
		return &doctorError{exitLater, errors.New("something could not be looked at")}
	case doctor.StatusWarning:
		return &doctorError{exitWarnings, errors.New("it found warnings")}
	default:
		return nil
	}
}

func newDoctorExplain() *cobra.Command {
	return &cobra.Command{
		Use:     "explain CHECK",
		Short:   "Say what a check reads, why it matters and how what it finds is mended",
		Example: "  bricklayer doctor explain bridge-netfilter",
		Args:    exactly("CHECK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			some, unknown := doctor.Select(checks.All(), args)
			if unknown != "" {
				return noCheck("CHECK", unknown)
			}
			doctor.Explain(cmd.OutOrStdout(), some[0])
			return nil
		},
	}
}
