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

const opMake = "make brick"

// The steps of Make, in order. What is on disk after each is undone by recover,
// or by the next Make of that name, until the last one has been done.
const (
	stepStaged  = "make: staging directory made"
	stepBrick   = "make: brick directory made"
	stepProject = "make: project set"
	stepLimit   = "make: limit set"
	stepOwner   = "make: owner and mode set"
	stepMark    = "make: mark written"
	stepMade    = "make: moved into place"
)

// Make makes a brick directory with its mark and its quota, or finds the one
// that was made with the same mark, whatever its quota has become since. Exists
// where the volume has a brick of another mark on this host; Exhausted where
// the root has no such room; Precondition where the root or its quotas are not
// as they must be.
//
// It is in place all at once, by a rename, when everything else is done.
func (h *Host) Make(ctx context.Context, req MakeRequest) (Brick, error) {
	if err := req.validate(h.options.Pool); err != nil {
		return Brick{}, err
	}
	r, err := h.root(opMake, req.Ref)
	if err != nil {
		return Brick{}, err
	}
	if err := h.refuseOtherMark(r, req); err != nil {
		return Brick{}, err
	}
	o, done, err := r.begin(ctx, opMake)
	if err != nil {
		return Brick{}, err
	}
	defer done()
	if there, err := exists(o.dir, path.Join(volumesDir, req.Ref.Volume)); err != nil {
		return Brick{}, o.failIO(opMake, req.Ref.Volume, err)
	} else if !there {
		if err := o.make(req); err != nil {
			return Brick{}, o.failIO(opMake, req.Ref.Volume, err)
		}
	} else if err := o.compare(req); err != nil {
		return Brick{}, err
	}
	b, err := o.brick(req.Ref.Volume, o.record)
	return b, o.failIO(opMake, req.Ref.Volume, err)
}

func (req MakeRequest) validate(pool string) error {
	if err := volume.CheckName(req.Ref.Volume); err != nil {
		return err
	}
	if err := checkQuota(req.Quota); err != nil {
		return err
	}
	h, err := volume.ParseHandle(req.Mark.Handle)
	if err != nil || h.Name != req.Ref.Volume || h.Pool != pool {
		return volume.NewFieldError("mark.handle", req.Mark.Handle,
			fmt.Sprintf("the handle of volume %s in pool %s", req.Ref.Volume, pool))
	}
	switch {
	case req.Enforce && req.Quota.Bytes == 0:
		return volume.NewFieldError("quota.bytes", "0", "more than 0 where the quota is enforced")
	case req.Mark.GID < 0 || int64(req.Mark.GID) > maxGID:
		return volume.NewFieldError("mark.gid", fmt.Sprint(req.Mark.GID), fmt.Sprintf("0 to %d", int64(maxGID)))
	case req.Mode&^0o7777 != 0:
		return volume.NewFieldError("mode", fmt.Sprintf("%#o", req.Mode), "0 to 07777")
	}
	return nil
}

// maxGID is below the kernel's "no such group" (-1) and within what Gluster's
// options take.
const maxGID = 1<<31 - 1

// refuseOtherMark looks at the other roots of the host. One that cannot be
// read now is passed over: the volume's own layout and Gluster stand behind it.
func (h *Host) refuseOtherMark(own *root, req MakeRequest) error {
	for _, r := range h.roots {
		if r == own {
			continue
		}
		if o, err := r.use(opMake); err == nil {
			if err := o.compare(req); err != nil && !missing(err) {
				return err
			}
		}
	}
	return nil
}

// compare refuses a brick of the volume that was made with another mark.
func (o *openRoot) compare(req MakeRequest) error {
	m, err := o.readMark(path.Join(volumesDir, req.Ref.Volume))
	switch {
	case missing(err):
		if there, _ := exists(o.dir, path.Join(volumesDir, req.Ref.Volume)); there {
			return o.fail(volume.Exists, opMake, req.Ref.Volume, errors.New("there is a directory of that name without a mark"),
				"find out whose it is and move it away")
		}
		return err
	case err != nil:
		return o.failIO(opMake, req.Ref.Volume, err)
	case !m.Same(req.Mark):
		return o.fail(volume.Exists, opMake, req.Ref.Volume,
			fmt.Errorf("it has a brick that was made for handle %s, size %d, type %s", m.Handle, int64(m.Size), m.Type),
			"delete that volume first, or use another name")
	}
	return nil
}

// make does what Make promises, step by step, where the volume has nothing in place.
func (o *openRoot) make(req MakeRequest) error {
	if err := o.discardStaged(req.Ref.Volume); err != nil {
		return err
	}
	project, quota, err := o.plan(req)
	if err != nil {
		return err
	}
	err = o.stage(req, project, quota)
	if err == nil || errors.Is(err, errKilled) {
		return err
	}
	// Undone at once, so that a failed call leaves nothing; if that fails too,
	// recover does it.
	return errors.Join(err, o.discardStaged(req.Ref.Volume))
}

// plan chooses the project ID and the quota, without changing anything. The
// project is 0 where the file system accounts none.
func (o *openRoot) plan(req MakeRequest) (project uint32, quota Quota, err error) {
	state, err := o.quotas.state()
	if err != nil {
		return 0, Quota{}, err
	}
	if req.Enforce && state != quotaEnforced {
		return 0, Quota{}, o.quotaOff(opMake, req.Ref.Volume, state)
	}
	var records []record
	if state != quotaOff {
		if records, err = o.quotas.all(FirstProject); err != nil {
			return 0, Quota{}, err
		}
	}
	l, err := o.ledger(records)
	if err != nil {
		return 0, Quota{}, err
	}
	if req.Enforce {
		if quota, err = l.roundUp(req.Quota); err != nil {
			return 0, Quota{}, err
		}
	}
	if err := o.promise(opMake, req.Ref.Volume, l, quota.Bytes); err != nil {
		return 0, Quota{}, err
	}
	if state != quotaOff {
		project, err = o.freeProject(records)
	}
	return project, quota, err
}

// quotaOff is the error for a quota that cannot be enforced.
func (o *openRoot) quotaOff(op, volumeName string, state quotaState) error {
	return o.fail(volume.Precondition, op, volumeName,
		fmt.Errorf("project quotas are %v on its %s file system", state, o.mount.fileSystem),
		"mount it with the option prjquota (XFS takes it at mount, not at remount), or use a class that says quota: none")
}

// stage builds the brick's directory aside and moves it into place. The order
// matters: the project before its limit, so that there is never a limit that no
// directory carries; the mark last, so that what has one is complete.
func (o *openRoot) stage(req MakeRequest, project uint32, quota Quota) error {
	staged := path.Join(stagingDir, req.Ref.Volume)
	if err := o.dir.Mkdir(staged, 0o700); err != nil {
		return err
	}
	if err := o.after(stepStaged); err != nil {
		return err
	}
	if err := o.dir.Mkdir(path.Join(staged, brickDir), 0o700); err != nil {
		return err
	}
	if err := o.after(stepBrick); err != nil {
		return err
	}
	if err := o.stageBrick(path.Join(staged, brickDir), req, project, quota); err != nil {
		return err
	}
	m := markFile{Mark: req.Mark, Quota: quota, Enforce: req.Enforce}
	if err := o.writeMark(staged, m); err != nil {
		return err
	}
	if err := o.after(stepMark); err != nil {
		return err
	}
	if err := o.dir.Rename(staged, path.Join(volumesDir, req.Ref.Volume)); err != nil {
		return err
	}
	if err := syncDir(o.dir, volumesDir); err != nil {
		return err
	}
	return o.after(stepMade)
}

func (o *openRoot) stageBrick(name string, req MakeRequest, project uint32, quota Quota) error {
	f, err := openDir(o.dir, name)
	if err != nil {
		return err
	}
	defer f.Close()
	if project != 0 {
		if err := o.quotas.setProject(f, project); err != nil {
			return err
		}
		if err := o.after(stepProject); err != nil {
			return err
		}
	}
	if quota != (Quota{}) {
		if err := o.quotas.setLimits(project, quota); err != nil {
			return err
		}
		if err := o.after(stepLimit); err != nil {
			return err
		}
	}
	if err := giveTo(f, req.Mark.GID, req.Mode); err != nil {
		return err
	}
	return o.after(stepOwner)
}

// giveTo sets group and mode. The mode is set last: chown clears setgid.
func giveTo(f *os.File, gid int, mode uint32) error {
	if mode == 0 {
		mode = defaultBrickMode
	}
	if err := f.Chown(-1, gid); err != nil {
		return err
	}
	if err := unix.Fchmod(int(f.Fd()), mode); err != nil {
		return &os.PathError{Op: "fchmod", Path: f.Name(), Err: err}
	}
	return nil
}

// errKilled is what a test's hook returns to stop an operation where kill -9
// would: nothing is undone.
var errKilled = errors.New("killed by a test")

func (o *openRoot) after(step string) error { return o.host.options.after(step) }
