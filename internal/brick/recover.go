package brick

import (
	"errors"
	"io/fs"
	"path"
	"syscall"

	"golang.org/x/sys/unix"
)

// recover clears what a crash may have left, when the root has been opened and
// before anything on it is changed: staged bricks, and limits that no directory
// carries any more. What is in the trash is emptied in its own time.
func (o *openRoot) recover() error {
	for _, name := range layoutDirs {
		if err := o.dir.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	staged, err := subdirectories(o.dir, stagingDir)
	if err != nil {
		return err
	}
	for _, name := range staged {
		o.host.log.Warn("discarding a brick that was never finished", "root", o.config.Name, "volume", name)
		if err := o.discardStaged(name); err != nil {
			return err
		}
	}
	if err := o.clearOrphans(); err != nil {
		return err
	}
	o.recovered = true
	return nil
}

// discardStaged removes what there is of a staged brick: its limit, then its
// directories. Nobody was ever told of it, so it holds nothing; if it does hold
// something, it goes to the trash, where it can still be looked at for a while.
func (o *openRoot) discardStaged(name string) error {
	staged := path.Join(stagingDir, name)
	if there, err := exists(o.dir, staged); err != nil || !there {
		return err
	}
	brick := path.Join(staged, brickDir)
	project, err := o.projectOf(brick)
	if err != nil && !missing(err) {
		return err
	}
	if err := o.clearLimit(project); err != nil {
		return err
	}
	if err := o.dir.Remove(brick); errors.Is(err, syscall.ENOTEMPTY) {
		return o.moveToTrash(staged, name, project)
	} else if err != nil && !missing(err) {
		return err
	}
	return o.dir.RemoveAll(staged)
}

// projectOf returns the project ID of a directory below the root.
func (o *openRoot) projectOf(dir string) (uint32, error) {
	f, err := openBelow(o.self, dir, unix.O_DIRECTORY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return o.quotas.project(f)
}

// clearLimit takes a project's limits away. Projects of others are left alone.
func (o *openRoot) clearLimit(project uint32) error {
	if project < FirstProject {
		return nil
	}
	state, err := o.quotas.state()
	if err != nil || state == quotaOff {
		return err
	}
	r, err := o.quotas.get(project)
	if err != nil || r.limit == (Quota{}) {
		return err
	}
	return o.quotas.setLimits(project, Quota{})
}

// clearOrphans takes away limits of projects that hold nothing, not even a
// directory. While a brick lacks its project (it was wiped and made again, and
// awaits its repair) such a limit may be that brick's: it goes on counting as
// committed, so that nobody else is promised its space.
func (o *openRoot) clearOrphans() error {
	if state, err := o.quotas.state(); err != nil || state == quotaOff {
		return err
	}
	records, err := o.quotas.all(FirstProject)
	if err != nil {
		return err
	}
	inTrash, err := o.trashProjects()
	if err != nil {
		return err
	}
	var orphans []record
	for _, r := range records {
		if r.empty() && r.limit != (Quota{}) && !inTrash[r.project] {
			orphans = append(orphans, r)
		}
	}
	if len(orphans) == 0 {
		return nil
	}
	if wiped, err := o.anyWiped(); err != nil || wiped {
		return err
	}
	for _, r := range orphans {
		o.host.log.Warn("clearing a limit that no directory carries",
			"root", o.config.Name, "project", r.project, "bytes", int64(r.limit.Bytes))
		if err := o.quotas.setLimits(r.project, Quota{}); err != nil {
			return err
		}
	}
	return nil
}

// anyWiped reports whether a brick that should have a quota has no project.
func (o *openRoot) anyWiped() (bool, error) {
	names, err := subdirectories(o.dir, volumesDir)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		m, err := o.readMark(path.Join(volumesDir, name))
		if err == nil && !m.Enforce {
			continue
		}
		project, err := o.projectOf(path.Join(volumesDir, name, brickDir))
		if err != nil && !missing(err) {
			return false, err
		}
		if project == 0 {
			return true, nil
		}
	}
	return false, nil
}
