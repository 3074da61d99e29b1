// Command demo shows a plain volume from create to delete on a lab of its own,
// each step beside the same step done by hand with bare gluster and xfs_quota,
// and how long both took. `make demo` runs it.
//
// It owns the story and its table. It refuses to know how a lab or a volume is
// made: it calls package lab, and the bricklayer program as an administrator does.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"bricklayer.csi/lab"
)

// downWithin bounds the removal of the lab, which happens also after Ctrl-C.
const downWithin = 2 * time.Minute

func main() {
	name := flag.String("name", "demo", "the lab's name")
	keep := flag.Bool("keep", false, "leave the lab up at the end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := demo(ctx, os.Stdout, *name, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo brings the lab up, tells the story and takes the lab down, whatever happened.
func demo(ctx context.Context, w io.Writer, name string, keep bool) (err error) {
	config, err := lab.ConfigOf(name)
	if err != nil {
		return err
	}
	if !keep {
		defer func() {
			fmt.Fprintf(w, "\nTaking the lab down.\n")
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downWithin)
			defer cancel()
			if downErr := lab.Down(ctx, name, io.Discard); err == nil {
				err = downErr
			}
		}()
	}
	fmt.Fprintf(w, "Bringing up a lab of %d real storage nodes (the first time this builds their image, for some minutes).\n\n", config.Nodes)
	l, err := lab.Up(ctx, config, w)
	if err != nil {
		return err
	}
	s, err := newStory(l, w)
	if err != nil {
		return err
	}
	return s.tell(ctx)
}
