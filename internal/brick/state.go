package brick

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
)

const opState = "read the state"

// States returns all roots as they are now, in the order of the configuration.
// A root that cannot be used, or whose disk does not answer before ctx ends,
// says so in its Problem.
func (h *Host) States(ctx context.Context) []RootState {
	answers := make([]chan RootState, len(h.roots))
	for i, r := range h.roots {
		answers[i] = make(chan RootState, 1)
		go func() { answers[i] <- r.state(ctx) }()
	}
	states := make([]RootState, len(h.roots))
	for i, r := range h.roots {
		select {
		case states[i] = <-answers[i]:
		case <-ctx.Done():
			states[i] = r.problem(fmt.Errorf("its disk did not answer in time: %w", context.Cause(ctx)))
		}
	}
	return states
}

func (r *root) problem(err error) RootState {
	return RootState{Name: r.config.Name, Path: r.config.Path, Problem: err.Error()}
}

// state asks one at a time, so that a disk that hangs holds one goroutine and
// not one for each question.
func (r *root) state(ctx context.Context) RootState {
	done, err := take(ctx, r.asked)
	if err != nil {
		return r.problem(err)
	}
	defer done()
	o, err := r.use(opState)
	if err != nil {
		s := r.problem(err)
		s.Blank = errors.Is(err, errNoMarker)
		return s
	}
	s, err := o.state()
	if err != nil {
		s.Problem = o.failIO(opState, "", err).Error()
	}
	return s
}

func (o *openRoot) state() (RootState, error) {
	s := RootState{
		Name: o.config.Name, Path: o.config.Path, ID: o.marker.ID,
		FileSystem: o.mount.fileSystem, Options: o.mount.options,
	}
	enforced, err := o.quotas.state()
	if err != nil {
		return s, err
	}
	s.Quota = enforced == quotaEnforced
	if o.marker.Quota && !s.Quota {
		s.Problem = o.quotaOff(opState, "", enforced).Error()
	}
	var records []record
	if enforced != quotaOff {
		if records, err = o.quotas.all(FirstProject); err != nil {
			return s, err
		}
	}
	l, err := o.ledger(records)
	if err != nil {
		return s, err
	}
	s.Total, s.Used, s.Free, s.Committed, s.Available = l.total, l.used, l.free, l.committed, l.available
	return s, o.count(&s)
}

// count fills in the bricks, the trash and the group IDs.
func (o *openRoot) count(s *RootState) error {
	trash, err := subdirectories(o.dir, trashDir)
	if err != nil {
		return err
	}
	names, err := subdirectories(o.dir, volumesDir)
	if err != nil {
		return err
	}
	s.Trash, s.Bricks = len(trash), len(names)
	for _, name := range names {
		m, known := o.marks.peek(path.Join(volumesDir, name))
		if !known {
			if m, err = o.readMark(path.Join(volumesDir, name)); err != nil {
				continue // Bricks says what is wrong with it
			}
		}
		s.GIDs = append(s.GIDs, m.GID)
	}
	slices.Sort(s.GIDs)
	s.GIDs = slices.Compact(s.GIDs)
	return nil
}
