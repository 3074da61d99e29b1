package brick

import (
	"context"
	"fmt"
	"path"

	"bricklayer.csi/internal/volume"
)

const opQuota = "set quota"

// The steps of SetQuota. Stopped after the first, the limit in force and the
// mark differ until the call is repeated; Repair never lowers a limit, so it
// takes nothing back.
const (
	stepNewLimit = "set quota: limit set"
	stepNewMark  = "set quota: mark written"
)

// SetQuota sets the quota of a brick directory and writes it to its mark. A
// brick that was made without a quota has one from then on. Bytes are rounded
// up to whole blocks. Exhausted where the root has no such room; Precondition
// where more is used already, or where quotas are not enforced.
func (h *Host) SetQuota(ctx context.Context, ref Ref, q Quota) (Brick, error) {
	if err := volume.CheckName(ref.Volume); err != nil {
		return Brick{}, err
	}
	if err := checkQuota(q); err != nil {
		return Brick{}, err
	}
	if q.Bytes == 0 {
		return Brick{}, volume.NewFieldError("quota.bytes", "0", "more than 0")
	}
	r, err := h.root(opQuota, ref)
	if err != nil {
		return Brick{}, err
	}
	o, done, err := r.begin(ctx, opQuota)
	if err != nil {
		return Brick{}, err
	}
	defer done()
	b, err := o.setQuota(ref.Volume, q)
	return b, o.failIO(opQuota, ref.Volume, err)
}

func (o *openRoot) setQuota(name string, q Quota) (Brick, error) {
	b, err := o.brick(name, o.record)
	if err != nil {
		return Brick{}, err
	}
	m, err := o.readMark(path.Join(volumesDir, name))
	if err != nil {
		return Brick{}, o.fail(volume.Precondition, opQuota, name, fmt.Errorf("it carries no mark of ours: %w", err), "")
	}
	if q, err = o.checkChange(b, q); err != nil {
		return Brick{}, err
	}
	if err := o.quotas.setLimits(b.ProjectID, q); err != nil {
		return Brick{}, err
	}
	if err := o.after(stepNewLimit); err != nil {
		return Brick{}, err
	}
	m.Quota, m.Enforce = q, true
	if err := o.replaceMark(path.Join(volumesDir, name), m); err != nil {
		return Brick{}, err
	}
	if err := o.after(stepNewMark); err != nil {
		return Brick{}, err
	}
	return o.brick(name, o.record)
}

// checkChange returns the quota in whole blocks if the brick may have it.
func (o *openRoot) checkChange(b Brick, q Quota) (Quota, error) {
	name := b.Ref.Volume
	state, err := o.quotas.state()
	if err != nil {
		return q, err
	}
	if state != quotaEnforced {
		return q, o.quotaOff(opQuota, name, state)
	}
	if b.ProjectID == 0 {
		return q, o.fail(volume.Precondition, opQuota, name, fmt.Errorf("its directory has lost its project ID"),
			"the agent puts that right at its next repair; restart it to have that now")
	}
	records, err := o.quotas.all(FirstProject)
	if err != nil {
		return q, err
	}
	l, err := o.ledger(records)
	if err != nil {
		return q, err
	}
	if q, err = l.roundUp(q); err != nil {
		return q, err
	}
	if q.Bytes < b.Used || q.Inodes != 0 && q.Inodes < b.UsedInodes {
		return q, o.fail(volume.Precondition, opQuota, name,
			fmt.Errorf("%d bytes and %d inodes are used, so the quota cannot become %d bytes, %d inodes",
				int64(b.Used), b.UsedInodes, int64(q.Bytes), q.Inodes),
			"delete data first, or ask for more")
	}
	if more := q.Bytes - b.committed(); more > 0 {
		return q, o.promise(opQuota, name, l, more)
	}
	return q, nil
}

// committed is what the brick counts for in the ledger.
func (b Brick) committed() volume.Size {
	if b.Quota.Bytes == 0 {
		return b.Used // outside of all limits until now
	}
	return max(b.Quota.Bytes, b.Used)
}
