package brick

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"bricklayer.csi/internal/volume"
)

const opRemove = "remove brick"

// The step of Remove; there is just one that changes anything.
const stepRemoved = "remove: moved away"

// Remove takes a brick directory out of the way by one rename, into the trash
// or the archive, with its mark. One that is not there is no error; one that is
// not finished is cleared away. Precondition where a Gluster volume still uses
// it, or where it carries no mark of ours.
func (h *Host) Remove(ctx context.Context, req RemoveRequest) error {
	if err := volume.CheckName(req.Ref.Volume); err != nil {
		return err
	}
	if req.Mode != ToTrash && req.Mode != ToArchive {
		return volume.NewFieldError("mode", string(req.Mode), string(ToTrash)+" or "+string(ToArchive))
	}
	r, err := h.root(opRemove, req.Ref)
	if err != nil {
		return err
	}
	if err := r.refuseInUse(ctx, req.Ref.Volume); err != nil {
		return err
	}
	o, done, err := r.begin(ctx, opRemove)
	if err != nil {
		return err
	}
	defer done()
	return o.failIO(opRemove, req.Ref.Volume, o.takeAway(req))
}

// refuseInUse asks whether a Gluster volume uses the brick, before the root's
// turn is taken: glusterd may be slow, and others need not wait for it.
func (r *root) refuseInUse(ctx context.Context, volumeName string) error {
	if r.host.options.InUse == nil {
		return nil
	}
	brick := r.path(volumesDir, volumeName, brickDir)
	used, err := r.host.options.InUse(ctx, brick)
	if err != nil {
		return fmt.Errorf("ask Gluster whether it uses %s: %w", brick, err)
	}
	if used {
		return r.fail(volume.Precondition, opRemove, volumeName, fmt.Errorf("a Gluster volume still uses %s", brick),
			"delete the Gluster volume first")
	}
	return nil
}

func (o *openRoot) takeAway(req RemoveRequest) error {
	name := req.Ref.Volume
	if err := o.discardStaged(name); err != nil {
		return err
	}
	dir := path.Join(volumesDir, name)
	if there, err := exists(o.dir, dir); err != nil || !there {
		return err
	}
	if _, err := o.readMark(dir); err != nil {
		return o.fail(volume.Precondition, opRemove, name, fmt.Errorf("it carries no mark of ours: %w", err),
			"find out whose it is and move it away by hand")
	}
	if req.Mode == ToArchive {
		return o.moveToArchive(dir, name)
	}
	project, err := o.projectOf(path.Join(dir, brickDir))
	if err != nil && !missing(err) {
		return err
	}
	return o.moveToTrash(dir, name, project)
}

// moveToTrash moves a volume's directory into the trash. Its project goes into
// its name, so that the limit can still be found when the brick is gone.
func (o *openRoot) moveToTrash(dir, name string, project uint32) error {
	if project < FirstProject {
		project = 0 // not one that we gave out, so none that we may clear
	}
	to := path.Join(trashDir, trashName(name, project, strings.ReplaceAll(newID(), "-", "")))
	if there, err := exists(o.dir, to); err != nil {
		return err
	} else if there {
		return fmt.Errorf("%s is there already, so two directories share project %d", to, project)
	}
	if err := o.move(dir, to, trashDir); err != nil {
		return err
	}
	select {
	case o.removed <- struct{}{}:
	default: // it has been told already
	}
	return nil
}

func (o *openRoot) moveToArchive(dir, name string) error {
	stamp := time.Now().UTC().Format("20060102T150405.000Z")
	to := path.Join(archiveDir, name+"-"+stamp)
	if there, err := exists(o.dir, to); err != nil {
		return err
	} else if there {
		return errors.New(to + " is there already; call again")
	}
	return o.move(dir, to, archiveDir)
}

// move renames a directory and makes both ends durable.
func (o *openRoot) move(from, to, parent string) error {
	if err := o.dir.Rename(from, to); err != nil {
		return err
	}
	o.marks.forget(from)
	if err := errors.Join(syncDir(o.dir, parent), syncDir(o.dir, path.Dir(from))); err != nil {
		return err
	}
	return o.after(stepRemoved)
}
