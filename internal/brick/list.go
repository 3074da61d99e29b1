package brick

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"bricklayer.csi/internal/volume"
)

const opList = "list bricks"

// Bricks returns the brick directories on all roots, in order of volume and
// root: those of the named volume, or all where the name is empty. Those in the
// trash and the archive are left out. Where a root cannot be read it returns
// the bricks of the others together with an error that names it: then nobody
// may conclude that a volume has no brick here.
func (h *Host) Bricks(ctx context.Context, volumeName string) ([]Brick, error) {
	if volumeName != "" {
		if err := volume.CheckName(volumeName); err != nil {
			return nil, err
		}
	}
	var all []Brick
	var errs []error
	for _, r := range h.roots {
		if err := ctx.Err(); err != nil {
			return all, r.failIO(opList, volumeName, fmt.Errorf("%w: %w", errOutOfTime, err))
		}
		bricks, err := r.bricks(volumeName)
		all = append(all, bricks...)
		errs = append(errs, err)
	}
	slices.SortStableFunc(all, func(a, b Brick) int { return strings.Compare(a.Ref.Volume, b.Ref.Volume) })
	return all, errors.Join(errs...)
}

func (r *root) bricks(volumeName string) ([]Brick, error) {
	o, err := r.use(opList)
	if err != nil {
		return nil, err
	}
	if volumeName != "" {
		b, err := o.brick(volumeName, o.record)
		if missing(err) {
			return nil, nil
		} else if err != nil {
			return nil, o.failIO(opList, volumeName, err)
		}
		return []Brick{b}, nil
	}
	bricks, err := o.allBricks()
	return bricks, o.failIO(opList, "", err)
}

// allBricks reads all records at once: one call a project, in order, and no
// look-up again.
func (o *openRoot) allBricks() ([]Brick, error) {
	names, err := subdirectories(o.dir, volumesDir)
	if err != nil {
		return nil, err
	}
	get, err := o.recordsByProject()
	if err != nil {
		return nil, err
	}
	bricks := make([]Brick, 0, len(names))
	for _, name := range names {
		b, err := o.brick(name, get)
		if missing(err) {
			continue // removed meanwhile
		} else if err != nil {
			return nil, err
		}
		bricks = append(bricks, b)
	}
	return bricks, nil
}

func (o *openRoot) recordsByProject() (func(uint32) (record, error), error) {
	state, err := o.quotas.state()
	if err != nil {
		return nil, err
	}
	byProject := map[uint32]record{}
	if state != quotaOff {
		records, err := o.quotas.all(FirstProject)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			byProject[r.project] = r
		}
	}
	return func(project uint32) (record, error) { return byProject[project], nil }, nil
}

// brick reads one brick; get looks its project's record up. A brick that is
// there but not as it should be is returned with its Problem.
func (o *openRoot) brick(name string, get func(uint32) (record, error)) (Brick, error) {
	dir := path.Join(volumesDir, name)
	b := Brick{Ref: Ref{Root: o.config.Name, Volume: name}, Path: o.path(dir, brickDir)}
	m, err := o.readMark(dir)
	if err != nil {
		if there, err := exists(o.dir, dir); err != nil {
			return Brick{}, err
		} else if !there {
			return Brick{}, o.fail(volume.NotFound, "find brick", name, errNotThere, "")
		}
		b.Problem = fmt.Sprintf("its mark cannot be read: %v", err)
	}
	b.Mark = m.Mark
	if b.ProjectID, err = o.projectOf(path.Join(dir, brickDir)); missing(err) {
		b.Problem = "its directory is gone from beside its mark"
		return b, nil
	} else if err != nil {
		return Brick{}, err
	}
	if b.ProjectID != 0 {
		r, err := get(b.ProjectID)
		if err != nil {
			return Brick{}, err
		}
		b.Quota, b.Used, b.UsedInodes = r.limit, r.used, r.inodes
	}
	if b.Problem == "" && m.Enforce {
		b.Problem = quotaProblem(b, m.Quota)
	}
	return b, nil
}

// record reads one project's record, if the file system keeps any.
func (o *openRoot) record(project uint32) (record, error) {
	state, err := o.quotas.state()
	if err != nil || state == quotaOff {
		return record{}, err
	}
	return o.quotas.get(project)
}

// quotaProblem says how a brick's quota differs from what was set.
func quotaProblem(b Brick, want Quota) string {
	switch {
	case b.ProjectID == 0:
		return "its quota is not in force: the directory has lost its project ID"
	case b.Quota.Bytes == 0:
		return "its quota is not in force: the project has no limit"
	case b.Quota != want:
		return fmt.Sprintf("its quota is %d bytes, %d inodes, and was set to %d bytes, %d inodes",
			int64(b.Quota.Bytes), b.Quota.Inodes, int64(want.Bytes), want.Inodes)
	}
	return ""
}

var errNotThere = errors.New("there is no such brick directory")
