package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"bricklayer.csi/bench"
	"bricklayer.csi/bench/fio"
	benchreport "bricklayer.csi/bench/report"
)

func newBench(env environment) *cobra.Command {
	cmd := group("bench", "Measure volumes against each other, and against those made by hand")
	cmd.Long = `Measure volumes against each other, and against those made by hand.

Targets take turns, round by round, so that a machine that slows down meanwhile
favours none of them. A ratio comes with its interval, and where the rounds do not
bear one there is no number. See docs/benchmarks.md.`
	cmd.AddCommand(newBenchIO(env), newBenchProvision(env), newBenchJobs(), newBenchReport(), newBenchCompare(), newBenchVerify())
	return cmd
}

func newBenchJobs() *cobra.Command {
	var dir, write string
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "List the jobs, or write their files to change them",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			jobs, err := jobsOf(dir)
			if err != nil {
				return err
			}
			if write == "" {
				return (&outputOptions{format: "table"}).write(cmd.OutOrStdout(), nil, func(w io.Writer) {
					fmt.Fprint(w, row("JOB", "UNIT", "WHAT IT DOES"))
					for _, j := range jobs {
						fmt.Fprint(w, row(j.Name, j.Unit, j.Title))
					}
				})
			}
			if err := os.MkdirAll(write, 0o750); err != nil {
				return err
			}
			for _, j := range jobs {
				if err := bench.Replace(filepath.Join(write, j.Name+".fio"), []byte(j.Text)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "jobs", "", "a directory of job files *.fio; those of the program where it is left out")
	cmd.Flags().StringVar(&write, "write", "", "the directory to write them to")
	return cmd
}

// jobsOf reads the jobs of a directory, or those of the program.
func jobsOf(dir string) ([]fio.Job, error) {
	if dir == "" {
		return fio.Embedded()
	}
	jobs, err := fio.Load(dir)
	if err != nil {
		return nil, &usageError{err: err}
	}
	return jobs, nil
}

func newBenchReport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report RESULT.json",
		Short: "Write the report of a result anew, beside it, and show it",
		Args:  exactly("RESULT.json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := readResult(args[0])
			if err != nil {
				return err
			}
			if err := writeReports(filepath.Dir(args[0]), r); err != nil {
				return err
			}
			return benchreport.Text(cmd.OutOrStdout(), r)
		},
	}
	return cmd
}

func newBenchCompare() *cobra.Command {
	return &cobra.Command{
		Use:   "compare OLDER.json NEWER.json",
		Short: "Compare two results, job by job and target by target",
		Long: `Compare two results, job by job and target by target of the same name. The two
were not measured in turns: what the machine changed by in between is in the
ratios. To compare two volumes make them targets of one run.`,
		Args: exactly("OLDER.json", "NEWER.json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			older, err := readResult(args[0])
			if err != nil {
				return err
			}
			newer, err := readResult(args[1])
			if err != nil {
				return err
			}
			return benchreport.Compare(cmd.OutOrStdout(), bench.Compare(older, newer))
		},
	}
}

func newBenchVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify RESULT.json THRESHOLDS.yaml",
		Short: "Hold a result against thresholds; exit code 1 where one is missed",
		Long: `Hold a result against thresholds, such as

  rules:
    - {job: "*", target: plain, to: hand, atLeast: 0.98}
    - {job: "4k-*", target: plain, to: lvm, atLeast: 1, proof: for}

A rule fails where the whole interval of the ratio lies beyond its bound; with
proof "for" it fails unless all of it lies within. A rule that nothing in the
result answers to fails.`,
		Args: exactly("RESULT.json", "THRESHOLDS.yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := readResult(args[0])
			if err != nil {
				return err
			}
			t, err := bench.ReadThresholds(args[1])
			if err != nil {
				return &usageError{err: err}
			}
			missed, err := benchreport.Checks(cmd.OutOrStdout(), r.Verify(t))
			if err == nil && missed > 0 {
				err = fmt.Errorf("%d of the thresholds of %s are missed", missed, args[1])
			}
			return err
		},
	}
}

func readResult(path string) (bench.Result, error) {
	r, err := bench.Read(path)
	if err != nil {
		return r, &usageError{err: err}
	}
	return r, nil
}

// The files of a run.
const (
	resultFile   = "result.json"
	markdownFile = "report.md"
	htmlFile     = "report.html"
)

func writeReports(dir string, r bench.Result) error {
	page, err := benchreport.HTML(r)
	if err != nil {
		return err
	}
	return errors.Join(
		bench.Replace(filepath.Join(dir, markdownFile), benchreport.Markdown(r)),
		bench.Replace(filepath.Join(dir, htmlFile), page),
	)
}

// benchRun runs a plan, and writes what came of it however far it came.
func benchRun(ctx context.Context, cmd *cobra.Command, plan bench.Plan, dir string) error {
	if err := plan.Check(); err != nil {
		return &usageError{err: err}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the directory of the result: %w", err)
	}
	file := filepath.Join(dir, resultFile)
	errs := cmd.ErrOrStderr()
	fmt.Fprintf(errs, "about %s of measuring, and the time to make the targets\n", benchreport.Duration(plan.Estimate()))
	r, err := bench.Execute(ctx, plan, bench.Hooks{
		Progress: func(p bench.Progress) { fmt.Fprintln(errs, benchreport.Progress(p)) },
		Save:     func(r bench.Result) error { return r.Write(file) },
	})
	return finish(cmd, r, err, dir)
}

// finish writes the reports of a result, however far it came, and shows it.
func finish(cmd *cobra.Command, r bench.Result, err error, dir string) error {
	if len(r.Runs) == 0 {
		return err
	}
	out := cmd.OutOrStdout()
	err = errors.Join(err, writeReports(dir, r), benchreport.Text(out, r))
	for _, name := range []string{resultFile, markdownFile, htmlFile} {
		fmt.Fprintln(out, filepath.Join(dir, name))
	}
	if err == nil && len(r.Faults()) > 0 {
		err = fmt.Errorf("%d runs or targets failed: the rest is in the report", len(r.Faults()))
	}
	return err
}
