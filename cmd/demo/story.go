package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"bricklayer.csi/lab"
)

// Sizes of the story, in bytes. heketi makes no brick below 1 GiB.
const (
	gib       = 1 << 30
	firstSize = 1 * gib
	laterSize = 2 * gib
	sample    = 32 * mib
)

// The volumes' names.
const (
	plainVolume  = "demo-plain"
	heketiVolume = "demo-lvm"
	handVolume   = "byhand"
)

// side is one of those who do each step.
type side interface {
	create(ctx context.Context, bytes int64) error
	bricks() []brick
	expand(ctx context.Context, bytes int64) error
	mount(ctx context.Context, dir string) error
	unmount(ctx context.Context, dir string) error
	remove(ctx context.Context) error
	// tidy removes what there may be of the volume.
	tidy(ctx context.Context) error
}

// actor is a side with its mount.
type actor struct {
	side
	title string
	dir   string
	// spreads says that an expansion puts bricks beside the full ones, instead of
	// giving these more room.
	spreads bool
	// written is how much its big file holds.
	written int64
}

func (a *actor) big() string { return filepath.Join(a.dir, "big") }

// story is the steps and what came of them.
type story struct {
	lab     *lab.Lab
	out     io.Writer
	options options
	actors  []*actor
	// unmount is the program's: to it, no mount is no error, and it detaches a dead one.
	unmount func(ctx context.Context, dir string) error
	table   table
	bench   *bench
	// proof is what the tools said while all volumes were there.
	proof []exhibit
}

// hand is which of the actors works by hand.
const hand = 2

func newStory(l *lab.Lab, out io.Writer, o options) (*story, error) {
	program := l.Program()
	if program == "" {
		return nil, errors.New("the lab runs no bricklayer program; is cmd/bricklayer there?")
	}
	ours := func(lvm, backend, name string) *byBricklayer {
		return &byBricklayer{lab: l, program: program, name: name, handle: "bl1." + backend + ".lab." + name, lvm: lvm}
	}
	plain := ours("false", "plain", plainVolume)
	s := &story{lab: l, out: out, options: o, unmount: plain.unmount, actors: []*actor{
		{side: plain, title: `lvm: "false"`},
		{side: ours("true", "heketi", heketiVolume), title: `lvm: "true"`, spreads: true},
		{side: &byHand{lab: l, name: handVolume}, title: "by hand"},
	}}
	for _, a := range s.actors {
		a.dir = filepath.Join(l.MountDir(), "demo-"+strconv.Itoa(len(s.table.head)+1))
		s.table.head = append(s.table.head, a.title)
	}
	s.bench = newBench(l, len(s.actors), o)
	return s, nil
}

// tell does all of it. The volumes are left where it fails: the lab goes, or tidy
// is called.
func (s *story) tell(ctx context.Context) error {
	if err := s.warmUp(ctx); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	fmt.Fprintf(s.out, "\nThe same request thrice: with lvm false and true by the program, and by hand.\n")
	if err := s.steps(ctx, s.opening()); err != nil {
		return err
	}
	if err := s.describe(ctx); err != nil {
		return err
	}
	if err := s.compare(ctx); err != nil {
		return err
	}
	if err := s.steps(ctx, s.closing()); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "\n  is anything left?\n")
	if err := nothingLeft(ctx, s.lab); err != nil {
		return err
	}
	const nothing = "nothing"
	s.table.add("left over", nothing, nothing, nothing)
	fmt.Fprintf(s.out, "      nothing: no Gluster volume, LV, fstab line, brick directory or quota, and no volume in heketi\n")
	return s.conclude(ctx)
}

// warmUp makes and removes a volume by hand and one by the program: the first of a
// fresh cluster, and of a fresh agent, starts slowly.
func (s *story) warmUp(ctx context.Context) error {
	fmt.Fprintf(s.out, "\nThe first volume of a fresh cluster starts slowly: one is made and removed before.\n")
	for _, a := range []*actor{s.actors[hand], s.actors[0]} {
		err := s.working(a.title, func() (string, error) {
			if err := a.create(ctx, firstSize); err != nil {
				return "", err
			}
			return "warm", a.remove(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// describe notes what lies under the volumes.
func (s *story) describe(ctx context.Context) error {
	var path, below, limits, brickMount, clientMount []string
	node := s.lab.Nodes()[0].Name
	for _, a := range s.actors {
		b, err := brickOn(node, a.bricks())
		if err != nil {
			return fmt.Errorf("%s: %w", a.title, err)
		}
		f, err := factsOf(ctx, s.lab, b)
		if err != nil {
			return fmt.Errorf("%s: what is under its brick: %w", a.title, err)
		}
		client, err := clientOptions(a.dir)
		if err != nil {
			return fmt.Errorf("%s: %w", a.title, err)
		}
		path, below, limits = append(path, brief(f.path)), append(below, brief(f.below)), append(limits, f.limit)
		brickMount, clientMount = append(brickMount, f.options), append(clientMount, client)
	}
	s.table.add("brick on "+node, path...)
	s.table.add("what it is", below...)
	s.table.add("what limits it", limits...)
	s.table.add("its file system", brickMount...)
	s.table.add("the client's mount", clientMount...)
	return nil
}

// compare runs fio on all volumes, in turn.
func (s *story) compare(ctx context.Context) error {
	b := s.bench
	var dirs []string
	fmt.Fprintf(s.out, "\n  fio: %d rounds of %d jobs on each volume in turn, %d s each\n", b.rounds, len(b.jobs), s.options.seconds)
	for _, a := range s.actors {
		if err := s.working(a.title, func() (string, error) {
			return "a file of " + size(fioBytes) + " is laid out", layOut(ctx, s.lab, a.dir)
		}); err != nil {
			return err
		}
		dirs = append(dirs, a.dir)
	}
	begun := time.Now()
	for round := range b.rounds {
		err := s.working(fmt.Sprintf("round %d of %d", round+1, b.rounds), func() (string, error) {
			err := b.round(ctx, dirs, round)
			aRound := time.Since(begun).Seconds() / float64(round+1)
			return fmt.Sprintf("about %.0f s to go", aRound*float64(b.rounds-round-1)), err
		})
		if err != nil {
			return err
		}
	}
	for at, j := range b.jobs {
		var cells []string
		for v := range s.actors {
			cells = append(cells, b.cell(at, v, hand))
		}
		s.table.add(j.title, cells...)
	}
	var err error
	if s.proof, err = s.exhibits(ctx); err != nil { // now that there are data
		return fmt.Errorf("what the tools say: %w", err)
	}
	return s.removeFiles()
}

// conclude shows the table and writes the report.
func (s *story) conclude(ctx context.Context) error {
	fmt.Fprintf(s.out, "\n%s\n%s\n\n%s\n", s.table.text(), s.bench.verdict(), method(s.options))
	path, err := s.write(ctx)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	fmt.Fprintf(s.out, "\nThe report, with what lvs, xfs_quota, gluster and df said: %s\n", path)
	return nil
}

// tidy removes all that the demo may have made, one after another, whatever of it
// fails.
func (s *story) tidy(ctx context.Context) error {
	fmt.Fprintf(s.out, "\nRemoving the demo's volumes.\n")
	var errs []error
	for _, a := range s.actors {
		errs = append(errs, s.unmount(ctx, a.dir), a.tidy(ctx))
	}
	return errors.Join(errs...)
}

func size(bytes int64) string {
	return strconv.FormatFloat(math.Round(float64(bytes)/mib*10)/10, 'f', -1, 64) + " MiB"
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s" }
