package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// within bounds one step of one actor.
const within = 8 * time.Minute

// step is what all actors do, one after the other.
type step struct {
	name string
	// do says what the actor saw.
	do func(ctx context.Context, a *actor) (string, error)
	// podsOnly says that there is nothing to do where there is no pod.
	podsOnly bool
}

// steps has all actors do each of them, and notes how long they took.
func (s *story) steps(ctx context.Context, all []step) error {
	for _, st := range all {
		s.say("\n  %s\n", st.name)
		var cells []string
		for _, a := range s.actors {
			if err := ctx.Err(); err != nil {
				return err
			}
			if st.podsOnly && !a.pods {
				cells = append(cells, "no pod, no node service")
				continue
			}
			var seen string
			took, err := s.working(a.title, func() (_ string, err error) {
				ctx, cancel := context.WithTimeoutCause(ctx, within, errors.New("it did not end in "+within.String()))
				defer cancel()
				seen, err = st.do(ctx, a)
				return seen, err
			})
			if err != nil {
				return fmt.Errorf("%s, %s: %w", st.name, a.title, err)
			}
			cells = append(cells, seconds(took)+": "+seen)
		}
		s.table.add(st.name, cells...)
	}
	return nil
}

// opening is the steps up to the comparison.
func (s *story) opening() []step {
	return []step{
		{name: "claim " + size(firstSize) + ", three copies", do: func(ctx context.Context, a *actor) (string, error) {
			if !a.pods {
				return "started", a.create(ctx, firstSize)
			}
			return "Bound", a.create(ctx, firstSize)
		}},
		{name: "mount on two workers", do: s.mount},
		{name: "write there, read here", do: s.share},
		{name: "node pod replaced under a writer", do: s.replaceNode, podsOnly: true},
	}
}

// closing is those after it.
func (s *story) closing() []step {
	return []step{
		{name: "write up to the limit", do: func(ctx context.Context, a *actor) (string, error) { return a.fillUp(ctx) }},
		{name: "expand to " + size(laterSize) + ", online", do: grow},
		{name: "the same writer goes on", do: func(ctx context.Context, a *actor) (string, error) { return a.goOn(ctx) }},
		{name: "unmount", do: func(ctx context.Context, a *actor) (string, error) {
			if !a.pods {
				return "unmounted", a.unmount(ctx)
			}
			return "both pods deleted", a.unmount(ctx)
		}},
		{name: "delete", do: func(ctx context.Context, a *actor) (string, error) { return "gone", a.remove(ctx) }},
	}
}

func (s *story) mount(ctx context.Context, a *actor) (string, error) {
	var err error
	if a.dir, err = a.side.mount(ctx); err != nil {
		return "", err
	}
	if a.here, err = s.lab.WorkerPath(s.worker(), a.dir); err != nil {
		return "", err
	}
	seen, err := shows(a)
	if a.pods {
		seen = "both pods run, " + seen
	}
	return seen, err
}

func shows(a *actor) (string, error) {
	s, err := df(a.here)
	return "df shows " + size(s.total), err
}

// share has each worker write a file and read the other's.
func (s *story) share(ctx context.Context, a *actor) (string, error) {
	w := s.lab.Workers()
	for i := range 2 {
		if _, err := a.on(ctx, w[i].Name, "echo written on "+w[i].Name+" > from-"+w[i].Name); err != nil {
			return "", err
		}
	}
	for i := range 2 {
		other := w[1-i].Name
		got, err := a.on(ctx, w[i].Name, "cat from-"+other)
		if err != nil {
			return "", err
		}
		if want := "written on " + other; got != want {
			return "", fmt.Errorf("%s reads %q of the file of %s, want %q", w[i].Name, got, other, want)
		}
	}
	return "each reads the other's file", nil
}

// grow expands the volume until its client sees that.
func grow(ctx context.Context, a *actor) (string, error) {
	before, err := df(a.here)
	if err != nil {
		return "", err
	}
	if err := a.expand(ctx, laterSize); err != nil {
		return "", err
	}
	err = until(ctx, func(context.Context) error {
		after, err := df(a.here)
		if err == nil && after.total < before.total*18/10 {
			err = fmt.Errorf("df shows %s after %s before", size(after.total), size(before.total))
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return shows(a)
}

// fillUp fills the volume: the most of it reserved by a file, which is quick, the
// last of it written to another. XFS keeps what it allocates ahead of a writer for a
// file that was ever reserved, and a quota counts that.
func (a *actor) fillUp(ctx context.Context) (string, error) {
	before, err := df(a.here)
	if err != nil {
		return "", err
	}
	reserved := max(mib, (before.free-sample)/mib*mib)
	if err := reserve(a.big()+".reserved", reserved); err != nil {
		return "", err
	}
	a.written, err = fill(ctx, a.big(), 0, 2*firstSize)
	if !full(err) {
		return "", fmt.Errorf("df showed %s free and %s were written without a refusal, or something else went wrong: %w",
			size(before.free), size(reserved+a.written), err)
	}
	return "no space left on device after " + size(reserved+a.written), nil
}

// goOn writes on where fillUp was refused. After an expansion that only adds
// bricks, a file on the full ones does not grow: then another is written.
func (a *actor) goOn(ctx context.Context) (string, error) {
	var err error
	a.written, err = fillPatiently(ctx, a.big(), a.written, sample)
	if err == nil {
		return size(sample) + " more in the same file", nil
	}
	if !a.pods && full(err) {
		return "still no space after " + patience.String(), nil // seen, and nobody's promise
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
		errs = append(errs, os.Remove(filepath.Join(a.here, fioFile)))
	}
	return errors.Join(errs...)
}
