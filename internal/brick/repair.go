package brick

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

const opRepair = "repair brick"

// repairName lies beside a brick directory while its tree is being given a
// project, so that one that was interrupted is walked again from the start.
const repairName = "repairing"

// The steps of Repair. Each is found again by the next one.
const (
	stepRepairMark    = "repair: mark written"
	stepRepairNoted   = "repair: noted as begun"
	stepRepairProject = "repair: project set on the brick directory"
	stepRepairTree    = "repair: project set on the tree"
	stepRepairWalked  = "repair: note removed"
	stepRepairLimit   = "repair: limit set"
)

// Expectation is what the volumes of Gluster say that a brick should be.
type Expectation struct {
	Ref   Ref
	Quota Quota
	// Mark is written where the brick has lost its own; nil writes none.
	Mark *Mark
}

// Repaired says what Repair changed on one brick.
type Repaired struct {
	Ref Ref
	// Mark, Project and Limit are true where that was put right or, in the mark,
	// brought up to date.
	Mark, Project, Limit bool
	// From and To are the limits before and after.
	From, To Quota
	// Files is how many files and directories were given the project; Skipped
	// are symbolic links and special files, to which the kernel gives none.
	Files, Skipped int
}

// Changed reports whether anything was put right.
func (r Repaired) Changed() bool { return r.Mark || r.Project || r.Limit }

// String says it in one line, for a log.
func (r Repaired) String() string {
	return fmt.Sprintf("volume %s on root %s: mark written: %t, project given: %t (%d files, %d skipped), limit %d -> %d bytes",
		r.Ref.Volume, r.Ref.Root, r.Mark, r.Project, r.Files, r.Skipped, int64(r.From.Bytes), int64(r.To.Bytes))
}

// Repair puts right bricks that have lost their project, their limit or their
// mark, as one does that was wiped and healed, and returns what it changed.
// What is in order costs a few system calls. A limit is never lowered: one
// above the expectation belongs to an expansion that is under way.
//
// An expectation without a brick directory here is an error in the joined
// errors (NotFound); it does not keep the others from being repaired.
func (h *Host) Repair(ctx context.Context, want []Expectation) ([]Repaired, error) {
	var changed []Repaired
	var errs []error
	inOrder := h.inOrder()
	for _, w := range want {
		if q, ok := inOrder[w.Ref]; ok && q.Bytes >= w.Quota.Bytes && (w.Quota.Inodes == 0 || q.Inodes > 0) {
			continue
		}
		done, err := h.repair(ctx, w)
		if done.Changed() {
			changed = append(changed, done)
			h.log.WarnContext(ctx, "brick repaired", "root", w.Ref.Root, "volume", w.Ref.Volume, "mark", done.Mark,
				"project", done.Project, "limit", done.Limit, "bytes", int64(done.To.Bytes), "files", done.Files)
		}
		errs = append(errs, err)
		if ctx.Err() != nil || errors.Is(err, errKilled) {
			break
		}
	}
	return changed, errors.Join(errs...)
}

// inOrder returns the quotas of the bricks that have no problem.
func (h *Host) inOrder() map[Ref]Quota {
	quotas := map[Ref]Quota{}
	for _, r := range h.roots {
		bricks, _ := r.bricks("") // a root that fails here fails again where its bricks are looked at
		for _, b := range bricks {
			if b.Problem == "" {
				quotas[b.Ref] = b.Quota
			}
		}
	}
	return quotas
}

func (h *Host) repair(ctx context.Context, w Expectation) (Repaired, error) {
	out := Repaired{Ref: w.Ref}
	if err := volume.CheckName(w.Ref.Volume); err != nil {
		return out, err
	}
	if err := checkQuota(w.Quota); err != nil {
		return out, err
	}
	r, err := h.root(opRepair, w.Ref)
	if err != nil {
		return out, err
	}
	done, err := take(ctx, r.repairing)
	if err != nil {
		return out, r.failIO(opRepair, w.Ref.Volume, err)
	}
	defer done()
	return out, r.failIO(opRepair, w.Ref.Volume, r.repairOne(ctx, w, &out))
}

// repairOne takes the root's turn to choose a project and again to set the
// limit, but not for the walk between: that may take as long as it likes.
func (r *root) repairOne(ctx context.Context, w Expectation, out *Repaired) error {
	o, done, err := r.begin(ctx, opRepair)
	if err != nil {
		return err
	}
	project, err := o.repairProject(w, out)
	done()
	if err != nil || project == 0 {
		return err
	}
	dir := path.Join(volumesDir, w.Ref.Volume)
	if walk, err := exists(o.dir, path.Join(dir, repairName)); err != nil {
		return err
	} else if walk {
		if err := o.setTree(ctx, path.Join(dir, brickDir), project, out); err != nil {
			return err
		}
		if err := o.after(stepRepairTree); err != nil {
			return err
		}
	}
	o, done, err = r.begin(ctx, opRepair)
	if err != nil {
		return err
	}
	defer done()
	return o.repairLimit(w, project, out)
}

// repairProject puts the mark right and sees to it that the brick directory has
// a project, which it returns: 0 where there is none to have.
func (o *openRoot) repairProject(w Expectation, out *Repaired) (uint32, error) {
	b, err := o.brick(w.Ref.Volume, o.record)
	if err != nil {
		return 0, err
	}
	dir := path.Join(volumesDir, w.Ref.Volume)
	m, err := o.readMark(dir)
	if err != nil && w.Mark != nil {
		m = markFile{Mark: *w.Mark, Quota: w.Quota, Enforce: w.Quota.Bytes > 0}
		if err := o.replaceMark(dir, m); err != nil {
			return 0, err
		}
		out.Mark = true
		if err := o.after(stepRepairMark); err != nil {
			return 0, err
		}
	}
	if w.Quota.Bytes == 0 && !m.Enforce {
		return 0, nil // meant to be without
	}
	state, err := o.quotas.state()
	if err != nil {
		return 0, err
	}
	if state != quotaEnforced {
		return 0, o.quotaOff(opRepair, w.Ref.Volume, state)
	}
	if b.ProjectID != 0 {
		return b.ProjectID, nil
	}
	return o.giveProject(path.Join(dir, brickDir), path.Join(dir, repairName), out)
}

// giveProject gives a brick directory that has no project one, after a note
// that the tree below must follow.
func (o *openRoot) giveProject(brick, note string, out *Repaired) (uint32, error) {
	records, err := o.quotas.all(FirstProject)
	if err != nil {
		return 0, err
	}
	project, err := o.freeProject(records)
	if err != nil {
		return 0, err
	}
	f, err := openDir(o.dir, brick)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := o.dir.WriteFile(note, nil, 0o600); err != nil {
		return 0, err
	}
	if err := syncDir(o.dir, path.Dir(note)); err != nil {
		return 0, err
	}
	if err := o.after(stepRepairNoted); err != nil {
		return 0, err
	}
	if err := o.quotas.setProject(f, project); err != nil {
		return 0, err
	}
	out.Project = true
	return project, o.after(stepRepairProject)
}

// setTree gives everything below a brick directory its project.
//
// The brick may be in use. Each directory is set before it is listed: what is
// made in it from then on inherits the project, and nothing without it can be
// moved or linked in any more (the kernel says EXDEV), so the listing that
// follows misses nothing.
func (o *openRoot) setTree(ctx context.Context, brick string, project uint32, out *Repaired) error {
	f, err := openDir(o.dir, brick)
	if err != nil {
		return err
	}
	defer f.Close()
	return o.setBelow(ctx, f, project, out)
}

func (o *openRoot) setBelow(ctx context.Context, dir *os.File, project uint32, out *Repaired) error {
	if err := o.setOne(dir, project, out); err != nil {
		return err
	}
	return eachName(ctx, dir, func(name string) error {
		k, err := kind(dir, name)
		if missing(err) {
			return nil
		} else if err != nil {
			return err
		}
		if k != unix.S_IFDIR && k != unix.S_IFREG {
			out.Skipped++
			return nil
		}
		below, err := openBelow(dir, name, 0)
		if missing(err) || errors.Is(err, unix.ELOOP) {
			return nil // gone, or another kind by now: made again, so it inherited
		} else if err != nil {
			return err
		}
		defer below.Close()
		if k == unix.S_IFDIR {
			return o.setBelow(ctx, below, project, out)
		}
		return o.setOne(below, project, out)
	})
}

func (o *openRoot) setOne(f *os.File, project uint32, out *Repaired) error {
	was, err := o.quotas.project(f)
	if err != nil || was == project {
		return err
	}
	out.Files++
	return o.quotas.setProject(f, project)
}

// repairLimit sets the limit to what was expected or last set, whichever is more.
func (o *openRoot) repairLimit(w Expectation, project uint32, out *Repaired) error {
	dir := path.Join(volumesDir, w.Ref.Volume)
	b, err := o.brick(w.Ref.Volume, o.record)
	if err != nil {
		return err
	}
	if b.ProjectID != project {
		return fmt.Errorf("its project became %d while project %d was being set", b.ProjectID, project)
	}
	l, err := o.ledger(nil)
	if err != nil {
		return err
	}
	to, err := l.roundUp(w.Quota)
	if err != nil {
		return err
	}
	if m, err := o.readMark(dir); err == nil && m.Enforce {
		to = Quota{Bytes: max(to.Bytes, m.Quota.Bytes), Inodes: max(to.Inodes, m.Quota.Inodes)}
	}
	// The note goes before the limit is set, so that a brick with its limit
	// never has one, and is passed over without looking for it.
	if err := ignoreMissing(o.dir.Remove(path.Join(dir, repairName))); err != nil {
		return err
	}
	if err := o.after(stepRepairWalked); err != nil {
		return err
	}
	out.From, out.To = b.Quota, b.Quota
	if b.Quota.Bytes < to.Bytes || b.Quota.Inodes == 0 && to.Inodes != 0 {
		to.Bytes = max(to.Bytes, b.Quota.Bytes)
		if err := o.quotas.setLimits(project, to); err != nil {
			return err
		}
		out.Limit, out.To = true, to
		if err := o.after(stepRepairLimit); err != nil {
			return err
		}
	}
	return o.recordQuota(dir, out, to)
}

// recordQuota writes the quota in force to the mark where it is what was
// expected; a higher one is for whoever is raising it to write.
func (o *openRoot) recordQuota(dir string, out *Repaired, expected Quota) error {
	m, err := o.readMark(dir)
	if err == nil && out.To.Bytes == expected.Bytes && (m.Quota != out.To || !m.Enforce) {
		m.Quota, m.Enforce = out.To, true
		if err := o.replaceMark(dir, m); err != nil {
			return err
		}
		out.Mark = true
	}
	return nil // without a mark there is nowhere to write it to; Bricks says so
}
