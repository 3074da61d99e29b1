package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// beat is how often a step that takes long gives a sign of life.
const beat = 2 * time.Second

// step is what all actors do, one after the other.
type step struct {
	name string
	// do says what the actor saw.
	do func(ctx context.Context, a *actor) (string, error)
}

// steps has all actors do each of them, and notes how long they took.
func (s *story) steps(ctx context.Context, all []step) error {
	for _, st := range all {
		fmt.Fprintf(s.out, "\n  %s\n", st.name)
		var cells []string
		for _, a := range s.actors {
			if err := ctx.Err(); err != nil {
				return err
			}
			begun := time.Now()
			err := s.working(a.title, func() (string, error) {
				seen, err := st.do(ctx, a)
				cells = append(cells, seconds(time.Since(begun))+": "+seen)
				return seen, err
			})
			if err != nil {
				return fmt.Errorf("%s, %s: %w", st.name, a.title, err)
			}
		}
		s.table.add(st.name, cells...)
	}
	return nil
}

// working tells who does something, shows that it goes on, and how long it took.
func (s *story) working(who string, do func() (string, error)) error {
	fmt.Fprintf(s.out, "      %-14s", who)
	begun := time.Now()
	stop := dots(s.out, beat)
	seen, err := do()
	stop()
	if err != nil {
		fmt.Fprintf(s.out, " failed after %s\n", seconds(time.Since(begun)))
		return err
	}
	fmt.Fprintf(s.out, " %s  %s\n", seconds(time.Since(begun)), seen)
	return nil
}

// dots writes one from time to time, until stop is called.
func dots(w io.Writer, every time.Duration) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				fmt.Fprint(w, ".")
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// opening is the steps up to the comparison.
func (s *story) opening() []step {
	return []step{
		{"create " + size(firstSize) + ", three copies", func(ctx context.Context, a *actor) (string, error) {
			return "started", a.create(ctx, firstSize)
		}},
		{"mount", func(ctx context.Context, a *actor) (string, error) {
			if err := a.mount(ctx, a.dir); err != nil {
				return "", err
			}
			return shows(a)
		}},
	}
}

// closing is those after it.
func (s *story) closing() []step {
	return []step{
		{"write up to the limit", func(ctx context.Context, a *actor) (string, error) { return a.fillUp(ctx) }},
		{"expand to " + size(laterSize), func(ctx context.Context, a *actor) (string, error) {
			if err := a.expand(ctx, laterSize); err != nil {
				return "", err
			}
			return shows(a)
		}},
		{"the same writer goes on", func(ctx context.Context, a *actor) (string, error) { return a.goOn(ctx) }},
		{"unmount", func(ctx context.Context, a *actor) (string, error) { return "unmounted", a.unmount(ctx, a.dir) }},
		{"delete", func(ctx context.Context, a *actor) (string, error) { return "gone", a.remove(ctx) }},
	}
}

func shows(a *actor) (string, error) {
	s, err := df(a.dir)
	return "df shows " + size(s.total), err
}

// fillUp has a file take all of the volume: the most of it reserved, which is
// quick, the last of it written.
func (a *actor) fillUp(ctx context.Context) (string, error) {
	before, err := df(a.dir)
	if err != nil {
		return "", err
	}
	a.written = max(0, before.free-sample) / mib * mib
	if err := reserve(a.big(), a.written); err != nil {
		return "", err
	}
	a.written, err = fill(ctx, a.big(), a.written, 2*firstSize)
	if !full(err) {
		return "", fmt.Errorf("df showed %s free and %s were written without a refusal, or something else went wrong: %w",
			size(before.free), size(a.written), err)
	}
	return "no space left on device after " + size(a.written), nil
}

// goOn writes on where fillUp was refused. After an expansion that only adds
// bricks, a file on the full ones does not grow: then another is written.
func (a *actor) goOn(ctx context.Context) (string, error) {
	var err error
	a.written, err = fillPatiently(ctx, a.big(), a.written, sample)
	if err == nil {
		return size(sample) + " more in the same file", nil
	}
	if !a.spreads || !full(err) {
		return "", err
	}
	other := a.big() + ".d"
	if err := os.Mkdir(other, 0o700); err != nil {
		return "", fmt.Errorf("make a directory on the bricks that were added: %w", err)
	}
	if _, err := fill(ctx, other+"/file", 0, sample); err != nil {
		return "", fmt.Errorf("write a new file on the bricks that were added: %w", err)
	}
	return "still no space in this file, on its full bricks; " + size(sample) + " in a file of a new directory", nil
}

// removeFiles removes what fio worked on.
func (s *story) removeFiles() error {
	var errs []error
	for _, a := range s.actors {
		errs = append(errs, os.Remove(file(a.dir)))
	}
	return errors.Join(errs...)
}
