package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/host"
	"bricklayer.csi/internal/volume"
)

// mend offers a fix for each finding that has one, one after the other. After each
// it looks again: one change often ends several findings, and changes what
// the next has to be.
func (r *doctorRun) mend(ctx context.Context, results []doctor.Result) (mended int, err error) {
	answers := bufio.NewReader(r.env.in)
	asked := map[string]bool{}
	for {
		check, f, found := r.nextFix(results, asked)
		if !found {
			if len(asked) == 0 {
				fmt.Fprintln(r.env.err, "--fix: nothing that was found can be ended from here")
			}
			return mended, nil
		}
		asked[check+" "+f.Object] = true
		fmt.Fprintf(r.env.err, "\n%s: %s: %s\nTo end it on %s:\n", check, f.Object, f.Problem, r.local.Name)
		for _, s := range f.Fix {
			fmt.Fprint(r.env.err, s.Show())
		}
		if !r.yes {
			yes, err := r.ask(answers)
			if err != nil {
				return mended, err
			}
			if !yes {
				continue
			}
		}
		j, err := doctor.Fix(ctx, r.local, check, f)
		if err != nil {
			return mended, &volume.Error{Kind: volume.Precondition, Op: "fix " + check, On: f.Object, Err: err}
		}
		mended++
		fmt.Fprintf(r.env.err, "done; bricklayer doctor undo %s takes it back\n", j.ID)
		r.reread()
		results = r.results(ctx)
	}
}

// reread has everything asked and the dashboards' files read anew.
func (r *doctorRun) reread() {
	if r.site == nil {
		return
	}
	r.site = r.site.Again()
	for i, d := range r.site.Dashboards {
		if d.File {
			r.site.Dashboards[i].Text, r.site.Dashboards[i].Err = r.local.ReadFile(d.Name)
		}
	}
}

// nextFix leaves out what was found on other machines: it is mended there.
func (r *doctorRun) nextFix(results []doctor.Result, asked map[string]bool) (check string, f doctor.Finding, found bool) {
	for _, result := range results {
		if result.Target != r.local.Name && result.Target != doctor.TargetCluster {
			continue
		}
		for _, f := range result.Findings {
			if len(f.Fix) > 0 && !asked[result.Check+" "+f.Object] {
				return result.Check, f, true
			}
		}
	}
	return "", f, false
}

// ask waits for yes or anything else; without anyone there it is no.
func (r *doctorRun) ask(answers *bufio.Reader) (bool, error) {
	fmt.Fprint(r.env.err, "Do it? [y/N] ")
	line, err := answers.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	fmt.Fprintln(r.env.err, "left as it is")
	return false, nil
}

func newDoctorUndo(env environment) *cobra.Command {
	var list bool
	cmd := &cobra.Command{
		Use:   "undo [FIX]",
		Short: "Take back what doctor --fix did to this machine",
		Long: `Take back what doctor --fix did to this machine: the fix of that ID, or the last
one that was not taken back. It refuses where somebody has changed the same thing since.

What was done is kept in ` + doctor.Journals + `.`,
		Example: `  bricklayer doctor undo --list
  bricklayer doctor undo`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("it takes one FIX, but was given %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := openHost(env, "")
			if err != nil {
				return err
			}
			all, err := doctor.Fixes(h)
			if err != nil {
				return err
			}
			if list {
				return listFixes(cmd.OutOrStdout(), all)
			}
			return undoFix(cmd.Context(), cmd.OutOrStdout(), h, all, strings.Join(args, ""))
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "list what was done, and change nothing")
	return cmd
}

func listFixes(w io.Writer, all []doctor.Journal) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, row("FIX", "CHECK", "OBJECT", "TAKEN BACK"))
	for _, j := range all {
		undone := ""
		if j.Undone != nil {
			undone = j.Undone.Format(time.RFC3339)
		}
		fmt.Fprint(tw, row(j.ID, j.Check, j.Object, undone))
	}
	return tw.Flush()
}

func undoFix(ctx context.Context, w io.Writer, h *host.Host, all []doctor.Journal, id string) error {
	j, err := doctor.Find(all, id)
	if err != nil {
		return &volume.Error{Kind: volume.NotFound, Op: "undo", On: id, Err: err, Next: "see bricklayer doctor undo --list"}
	}
	if err := doctor.Undo(ctx, h, j); err != nil {
		return &volume.Error{Kind: volume.Precondition, Op: "undo", On: j.ID, Err: err}
	}
	fmt.Fprintf(w, "%s: %s is as it was before\n", j.ID, j.Object)
	return nil
}
