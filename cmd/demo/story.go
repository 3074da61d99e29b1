package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"bricklayer.csi/lab"
)

// Sizes of the story, in bytes.
const (
	mib       = 1 << 20
	firstSize = 128 * mib
	laterSize = 192 * mib
	sample    = 32 * mib
)

// side is one of the two who do each step.
type side interface {
	create(ctx context.Context, bytes int64) error
	expand(ctx context.Context, bytes int64) error
	mount(ctx context.Context, dir string) error
	unmount(ctx context.Context, dir string) error
	remove(ctx context.Context) error
}

// actor is a side with its mount.
type actor struct {
	side
	dir string
	// written is how much its big file holds.
	written int64
}

func (a *actor) file() string { return filepath.Join(a.dir, "file") }

// story is the steps and what came of them.
type story struct {
	out        io.Writer
	ours, hand *actor
	rows       []row
}

// row is one step's outcome.
type row struct {
	step       string
	ours, hand time.Duration
	seen       string
}

func newStory(l *lab.Lab, out io.Writer) (*story, error) {
	program := l.Program()
	if program == "" {
		return nil, errors.New("the lab runs no bricklayer program; is cmd/bricklayer there?")
	}
	ours := &actor{side: &byBricklayer{lab: l, program: program}, dir: filepath.Join(l.MountDir(), "bricklayer")}
	hand := &actor{side: &byHand{lab: l, name: "byhand"}, dir: filepath.Join(l.MountDir(), "byhand")}
	return &story{out: out, ours: ours, hand: hand}, nil
}

// step has both sides do something, one after the other, and notes the times.
// Both say what they saw; where they differ both are shown.
func (s *story) step(name string, do func(a *actor) (string, error)) error {
	fmt.Fprintf(s.out, "  %-34s", name)
	begun := time.Now()
	ours, err := do(s.ours)
	oursTook := time.Since(begun)
	if err != nil {
		return fmt.Errorf("%s, with bricklayer: %w", name, err)
	}
	begun = time.Now()
	hand, err := do(s.hand)
	handTook := time.Since(begun)
	if err != nil {
		return fmt.Errorf("%s, by hand: %w", name, err)
	}
	seen := ours
	if hand != ours {
		seen += " (by hand: " + hand + ")"
	}
	fmt.Fprintf(s.out, "%s\n", seen)
	s.rows = append(s.rows, row{name, oursTook, handTook, seen})
	return nil
}

func (s *story) tell(ctx context.Context) error {
	fmt.Fprintf(s.out, "\nThe first volume of a fresh cluster starts slowly, so one is made and removed by hand first.\n")
	warm := &byHand{lab: s.hand.side.(*byHand).lab, name: "warmup"} //nolint:forcetypeassert,errcheck // newStory made it
	if err := warm.create(ctx, firstSize); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	if err := warm.remove(ctx); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	fmt.Fprintf(s.out, "\nEach step with bricklayer, then by hand on the same disks:\n\n")
	for _, step := range s.steps(ctx) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.step(step.name, step.do); err != nil {
			return err
		}
	}
	return s.table()
}

type step struct {
	name string
	do   func(a *actor) (string, error)
}

func (s *story) steps(ctx context.Context) []step {
	return []step{
		{"create " + size(firstSize) + ", three copies", func(a *actor) (string, error) {
			return "started", a.create(ctx, firstSize)
		}},
		{"mount", func(a *actor) (string, error) {
			if err := a.mount(ctx, a.dir); err != nil {
				return "", err
			}
			total, err := total(a.dir)
			return "df shows " + size(total), err
		}},
		{"write " + size(sample), func(a *actor) (string, error) {
			var err error
			a.written, err = fill(ctx, a.file(), a.written, sample)
			return size(a.written) + " on disk", err
		}},
		{"write on to the limit", func(a *actor) (string, error) {
			var err error
			a.written, err = fill(ctx, a.file(), a.written, 2*firstSize)
			if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
				return "", fmt.Errorf("the limit of %s was passed, or something else went wrong: %w", size(firstSize), err)
			}
			return "no space left on device", nil
		}},
		{"expand to " + size(laterSize), func(a *actor) (string, error) {
			if err := a.expand(ctx, laterSize); err != nil {
				return "", err
			}
			total, err := total(a.dir)
			return "df shows " + size(total), err
		}},
		{"the same writer goes on, " + size(sample), func(a *actor) (string, error) {
			var err error
			a.written, err = fillPatiently(ctx, a.file(), a.written, sample)
			return "written", err
		}},
		{"unmount", func(a *actor) (string, error) { return "unmounted", a.unmount(ctx, a.dir) }},
		{"delete", func(a *actor) (string, error) { return "gone", a.remove(ctx) }},
	}
}

func (s *story) table() error {
	fmt.Fprintf(s.out, "\nWhat it took:\n\n")
	tw := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "bricklayer\tby hand\t  step\n")
	var ours, hand time.Duration
	for _, r := range s.rows {
		ours, hand = ours+r.ours, hand+r.hand
		fmt.Fprintf(tw, "%s\t%s\t  %s\n", seconds(r.ours), seconds(r.hand), pad(r.step, 36)+r.seen)
	}
	fmt.Fprintf(tw, "%s\t%s\t  %s\n", seconds(ours), seconds(hand), pad("in all", 36))
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(s.out, `
By hand: mkdir and xfs_quota on all nodes at once, gluster volume create and start;
xfs_quota again to expand; stop, delete and rm -rf on all nodes at once. One run on
one machine: single steps vary by tenths of a second.
`)
	return nil
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s" }

func size(bytes int64) string { return strconv.FormatInt(bytes/mib, 10) + " MiB" }

func pad(s string, width int) string { return fmt.Sprintf("%-*s", width, s) }
