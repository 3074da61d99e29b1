// Command demo makes the same volume three times on a lab of its own, with lvm
// "false", with lvm "true", and by hand with bare gluster and xfs_quota, and
// shows side by side what lies under each, what it costs and what fio makes of
// it. `make demo` runs it.
//
// It owns the story, its measurements and its table. It refuses to know how a lab
// or a volume is made: it calls package lab, and the bricklayer program as an
// administrator does. It judges nothing but this machine: a benchmark it is not.
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
	// cleanWithin bounds the removal of the lab, or of the volumes, which happens
	// also after Ctrl-C.
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
	flag.StringVar(&o.name, "name", "demo", "the lab's name")
	flag.BoolVar(&o.keep, "keep", false, "leave the lab up at the end, without the demo's volumes")
	flag.StringVar(&o.report, "report", filepath.Join("bin", "demo-report.md"), "where the report is written, as Markdown")
	flag.IntVar(&o.rounds, "rounds", 4, "how often fio runs each job on each volume")
	flag.IntVar(&o.seconds, "seconds", 3, "how long one run of fio takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
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

// demo brings the lab up, tells the story and takes the lab down, whatever happened.
func demo(ctx context.Context, w io.Writer, o options) (err error) {
	config, err := lab.ConfigOf(o.name)
	if err != nil {
		return err
	}
	config.Heketi = true
	_, err = lab.Open(o.name)
	kept := err == nil // by an earlier -keep, with what it may hold
	if !o.keep {
		defer func() {
			fmt.Fprintf(w, "\nTaking the lab down.\n")
			err = errors.Join(err, afterwards(ctx, func(ctx context.Context) error {
				return lab.Down(ctx, o.name, io.Discard)
			}))
		}()
	}
	fmt.Fprintf(w, "Bringing up a lab of %d real storage nodes and a heketi (the first time this builds their image and heketi, for some minutes).\n\n", config.Nodes)
	l, err := lab.Up(ctx, config, w)
	if err != nil {
		return err
	}
	s, err := newStory(l, w, o)
	if err != nil {
		return err
	}
	if kept {
		if err := s.tidy(ctx); err != nil {
			return fmt.Errorf("clear away an earlier demo: %w", err)
		}
	}
	err = s.tell(ctx)
	if err != nil && o.keep {
		err = errors.Join(err, afterwards(ctx, s.tidy))
	}
	return err
}

// afterwards does what must be done also when ctx has ended.
func afterwards(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanWithin)
	defer cancel()
	return do(ctx)
}
