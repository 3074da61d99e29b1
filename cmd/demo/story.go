package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"bricklayer.csi/lab"
	"bricklayer.csi/lab/chart"
)

// Sizes of the story, in bytes. heketi makes no brick below 1 GiB.
const (
	gib       = 1 << 30
	firstSize = 1 * gib
	laterSize = 2 * gib
	sample    = 32 * mib
)

// The classes, and the volume that is made by hand.
const (
	plainClass = "plain"
	lvmClass   = "lvm"
	handVolume = "byhand"
)

// side is one of those who do each step.
type side interface {
	create(ctx context.Context, bytes int64) error
	bricks(ctx context.Context) ([]brick, error)
	expand(ctx context.Context, bytes int64) error
	// mount mounts the volume on both workers, and answers where on the first.
	mount(ctx context.Context) (dir string, err error)
	// on runs a shell script in the volume's directory on a worker.
	on(ctx context.Context, worker, script string) (string, error)
	unmount(ctx context.Context) error
	remove(ctx context.Context) error
}

// actor is a side with its mount on the first worker.
type actor struct {
	side
	title string
	// dir is the mount as the worker sees it, and here as this machine does.
	dir, here string
	// pods says that there is a node service between it and the mount.
	pods bool
	// spreads says that an expansion puts bricks beside the full ones, instead of
	// giving these more room.
	spreads bool
	// written is how much its big file holds.
	written int64
}

func (a *actor) big() string { return filepath.Join(a.here, "big") }

// story is the steps and what came of them.
type story struct {
	*telling
	lab     *lab.Lab
	chart   chart.Chart
	options options
	actors  []*actor
	// ready is what was done before the story, and table what was done in it.
	ready, table table
	bench        *bench
	// proof is what the tools said while all volumes were there.
	proof []exhibit
}

// hand is which of the actors works by hand.
const hand = 2

func newStory(c chart.Chart, t *telling, ready table, o options) (*story, error) {
	l := c.Lab
	workers := l.Workers()
	if len(workers) < 2 {
		return nil, fmt.Errorf("the lab has %d workers; the demo wants 2: go run ./cmd/lab down --name %s", len(workers), l.Name())
	}
	if l.Program() == "" {
		return nil, errors.New("the lab runs no bricklayer program; is cmd/bricklayer there?")
	}
	claim := func(class string) *byClaim {
		return &byClaim{lab: l, workers: workers[:2], name: "demo-" + class, class: class}
	}
	s := &story{telling: t, lab: l, chart: c, options: o, ready: ready, actors: []*actor{
		{side: claim(plainClass), title: `lvm: "false"`, pods: true},
		{side: claim(lvmClass), title: `lvm: "true"`, pods: true, spreads: true},
		{side: &byHand{lab: l, workers: workers[:2], name: handVolume}, title: "by hand"},
	}}
	for _, a := range s.actors {
		s.table.head = append(s.table.head, a.title)
	}
	s.bench = newBench(l, len(s.actors), o)
	return s, nil
}

// tell does all of it. The volumes are left where it fails: the lab goes.
func (s *story) tell(ctx context.Context) error {
	if err := s.warmUp(ctx); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	s.say("\nThe same volume thrice: by a claim of class %s, by one of class %s, and by hand.\n", plainClass, lvmClass)
	if err := s.steps(ctx, s.opening()); err != nil {
		return err
	}
	if err := s.describe(ctx); err != nil {
		return err
	}
	if err := s.compare(ctx); err != nil {
		return fmt.Errorf("fio: %w", err)
	}
	if err := s.steps(ctx, s.closing()); err != nil {
		return err
	}
	s.say("\n  is anything left?\n")
	_, err := s.working("everywhere", func() (string, error) {
		return "nothing: no Gluster volume, LV, fstab line, brick directory or quota on a node, no volume in heketi,\n" +
			"                            no mount or client on a worker, no claim or PersistentVolume in the API", nothingLeft(ctx, s.lab)
	})
	if err != nil {
		return err
	}
	const nothing = "nothing"
	s.table.add("left over", nothing, nothing, nothing)
	return s.conclude(ctx)
}

// warmUp makes and removes a volume by hand and one by a claim: the first of a
// fresh cluster, and of a fresh agent, starts slowly.
func (s *story) warmUp(ctx context.Context) error {
	s.say("\nThe first volume of a fresh cluster starts slowly: one is made and removed before.\n")
	for _, a := range []*actor{s.actors[hand], s.actors[0]} {
		_, err := s.working(a.title, func() (string, error) {
			if err := a.create(ctx, firstSize); err != nil {
				return "", err
			}
			return "warm", a.remove(ctx)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", a.title, err)
		}
	}
	return nil
}

// describe notes what lies under the volumes.
func (s *story) describe(ctx context.Context) error {
	var path, below, limits, brickMount, clientMount []string
	node := s.lab.Nodes()[0].Name
	for _, a := range s.actors {
		all, err := a.bricks(ctx)
		if err != nil {
			return fmt.Errorf("%s: its bricks: %w", a.title, err)
		}
		b, err := brickOn(node, all)
		if err != nil {
			return fmt.Errorf("%s: %w", a.title, err)
		}
		f, err := factsOf(ctx, s.lab, b)
		if err != nil {
			return fmt.Errorf("%s: what is under its brick: %w", a.title, err)
		}
		client, err := clientOptions(ctx, s.lab, s.worker(), a.dir)
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

// worker is the one on which is measured.
func (s *story) worker() string { return s.lab.Workers()[0].Name }

// compare runs fio on all volumes, in turn.
func (s *story) compare(ctx context.Context) error {
	b := s.bench
	var dirs []string
	s.say("\n  fio: %d rounds of %d jobs on each volume in turn, %d s each\n", b.rounds, len(b.jobs), s.options.seconds)
	for _, a := range s.actors {
		if _, err := s.working(a.title, func() (string, error) {
			return "a file of " + size(fioBytes) + " is laid out", layOut(ctx, s.lab, a.dir)
		}); err != nil {
			return err
		}
		dirs = append(dirs, a.dir)
	}
	begun := time.Now()
	for round := range b.rounds {
		_, err := s.working(fmt.Sprintf("round %d of %d", round+1, b.rounds), func() (string, error) {
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
	s.say("\n%s\n%s\n\n%s\n", s.table.text(), s.bench.verdict(), method(s.options))
	path, err := s.write(ctx, s.options.report, s.document(time.Now()))
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	s.say("\nThe report, with what kubectl, lvs, xfs_quota, gluster and df said: %s\n", path)
	return nil
}

// explain writes down what Kubernetes said, before the lab is taken down, and
// returns an error that says where.
func (s *story) explain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	path, err := s.write(ctx, s.options.report+".failed", s.chart.Explain(ctx))
	if err != nil {
		return err
	}
	return errors.New("what Kubernetes said is in " + path)
}

// write writes a file, whole or not at all, and returns its path.
func (*story) write(ctx context.Context, name, text string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", err
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, []byte(text), 0o600); err != nil {
		return "", err
	}
	return path, os.Rename(fresh, path)
}

func size(bytes int64) string {
	return strconv.FormatFloat(math.Round(float64(bytes)/mib*10)/10, 'f', -1, 64) + " MiB"
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s" }
