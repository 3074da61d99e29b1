// Command demo does the main job on a lab of its own, in one command: it builds the
// image, brings up storage nodes and a Kubernetes, installs the chart, and takes a
// claim of each kind of class from its beginning to its end, beside a volume made
// by hand with bare gluster and xfs_quota. `make demo` runs it.
//
// It owns the story, its measurements and its table. It refuses to know how a lab,
// a chart or a volume is made: it calls packages lab and chart, and kubectl as a
// user does. It judges nothing but this machine: a benchmark it is not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"bricklayer.csi/lab"
)

const (
	// cleanWithin bounds the removal of the lab, which happens also after Ctrl-C.
	cleanWithin = 5 * time.Minute
	// exitInterrupted is what a shell expects of a program that Ctrl-C ended.
	exitInterrupted = 130
)

// options are the flags.
type options struct {
	name    string
	report  string
	keep    bool
	rounds  int
	seconds int
}

func (o options) validate() error {
	switch {
	case o.rounds < 1 || o.rounds > 100:
		return fmt.Errorf("-rounds %d: want 1 to 100", o.rounds)
	case o.seconds < 1 || o.seconds > 600:
		return fmt.Errorf("-seconds %d: want 1 to 600", o.seconds)
	case o.report == "":
		return errors.New("-report is empty: name the file to write the report to")
	}
	return lab.CheckName(o.name)
}

func main() {
	var o options
	flag.StringVar(&o.name, "name", "demo", "the lab's name; a lab of that name is removed first")
	flag.BoolVar(&o.keep, "keep", false, "leave the lab as it is at the end, also where a step failed")
	flag.StringVar(&o.report, "report", filepath.Join("bin", "demo-report.md"), "where the report is written, as Markdown")
	flag.IntVar(&o.rounds, "rounds", 4, "how often fio runs each job on each volume")
	flag.IntVar(&o.seconds, "seconds", 3, "how long one run of fio takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := o.validate()
	if err == nil {
		err = demo(ctx, os.Stdout, o)
	}
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted:
		fmt.Fprintln(os.Stderr, "demo: interrupted")
		os.Exit(exitInterrupted)
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo gets all ready, tells the story and takes the lab down, whatever happened.
func demo(ctx context.Context, w io.Writer, o options) (err error) {
	begun := time.Now()
	t := &telling{out: w}
	r := &preparation{telling: t, options: o}
	if err := r.build(ctx); err != nil {
		return err
	}
	if err := r.clear(ctx); err != nil {
		return err
	}
	defer func() {
		if o.keep {
			fmt.Fprintf(w, "\nThe lab is kept: go run ./cmd/lab status --name %s; go run ./cmd/lab down --name %s\n", o.name, o.name)
			return
		}
		err = errors.Join(err, r.down(ctx))
	}()
	chart, err := r.bringUp(ctx)
	if err != nil {
		return err
	}
	s, err := newStory(chart, t, r.table, o)
	if err != nil {
		return err
	}
	if err := s.tell(ctx); err != nil {
		if ctx.Err() == nil {
			err = errors.Join(err, s.explain(ctx))
		}
		return err
	}
	fmt.Fprintf(w, "All of it took %s.\n", seconds(time.Since(begun)))
	return nil
}

// afterwards does what must be done also when ctx has ended.
func afterwards(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanWithin)
	defer cancel()
	return do(ctx)
}
