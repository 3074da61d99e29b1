package heketi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	client "github.com/heketi/heketi/client/api/go-client"
	"github.com/heketi/heketi/pkg/glusterfs/api"

	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/volume"
)

// Create implements volume.Backend.
func (b *Backend) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	ctx, cancel := hurry(ctx)
	defer cancel()
	var v volume.Volume
	err := b.guard.Do(ctx, guard.Request{Flow: spec.Parameters.Fingerprint(), Op: "create volume", On: b.on(spec.Handle())}, func(t *guard.Turn) (err error) {
		v, err = b.create(ctx, t, spec)
		return err
	})
	return v, err
}

// create is Create when its turn has come.
func (b *Backend) create(ctx context.Context, turn *guard.Turn, spec volume.Spec) (volume.Volume, error) {
	const op = "create volume"
	p := spec.Parameters
	if u := p.Heketi.URL; u != "" && u != b.base.String() {
		return volume.Volume{}, volume.NewFieldError("parameters.resturl", redactUserInfo(u), "the address of the heketi of pool "+b.Pool+": "+b.base.String())
	}
	request, size, err := b.request(spec)
	if err != nil {
		return volume.Volume{}, err
	}
	l, err := b.classLogin(ctx, p.Heketi)
	if err != nil {
		return volume.Volume{}, err
	}
	clusters, err := b.clusters(p.Heketi)
	if err != nil {
		return volume.Volume{}, err
	}
	var made volume.Volume
	full := map[string]bool{} // clusters that heketi found to be full
	t := task{op: op, handle: spec.Handle(), login: l, clusters: clusters}
	t.next = func(ctx context.Context, v *view, f found) (*change, error) {
		if err := f.refuseForeign(op, b.on(t.handle), volume.Exists); err != nil {
			return nil, err
		}
		if f.id != "" {
			made = v.describe(t.handle, f)
			return nil, b.adopt(ctx, spec, made)
		}
		if err := b.refuseTaken(ctx, op, t.handle); err != nil {
			return nil, err
		}
		return &change{ask: func(_ context.Context, c *client.Client, v *view, _ found) error {
			turn.Whole()
			return b.post(c, v, request, size, wish{clusters: clusters, full: full, Parameters: p})
		}}, nil
	}
	if err := b.converge(ctx, t); err != nil {
		return volume.Volume{}, err
	}
	return made, nil
}

// request returns what heketi is asked for, without cluster and group ID, and
// its size in bytes.
func (b *Backend) request(spec volume.Spec) (api.VolumeCreateRequest, volume.Size, error) {
	p := spec.Parameters
	r := api.VolumeCreateRequest{Name: spec.Handle().Name}
	var err error
	if p.Layout != volume.LayoutVolume {
		return r, 0, volume.NewFieldError("parameters.layout", string(p.Layout), `volume with lvm: "true"`)
	}
	if r.Durability, err = durability(p.Type); err != nil {
		return r, 0, err
	}
	wanted := spec.Size
	wanted.Required = max(wanted.Required, leastSize(p.Type))
	size, err := wanted.Pick(unit)
	if err != nil {
		return r, 0, err
	}
	r.Size = int(size / volume.GiB)
	if p.Heketi.SnapFactor > 0 {
		r.Snapshot.Enable, r.Snapshot.Factor = true, float32(p.Heketi.SnapFactor)
	}
	r.GlusterVolumeOptions = b.volumeOptions(marks{
		handle: spec.Handle(), fingerprint: p.Fingerprint(), class: p.Class, created: time.Now(),
	}, p.GlusterOptions())
	return r, size, nil
}

// post asks for the volume in the first cluster that has room for it. The order
// of the clusters depends on the name, so that two controllers try the same one
// first, where the name is then taken: heketi keeps names apart in each cluster only.
func (b *Backend) post(c *client.Client, v *view, r api.VolumeCreateRequest, size volume.Size, w wish) error {
	gid, err := chooseGID(v, r.Name, w.Parameters)
	if err != nil {
		return err
	}
	r.Gid = int64(gid)
	cluster, err := b.chooseCluster(v, r.Name, size, w)
	if err != nil {
		return err
	}
	r.Clusters = []string{cluster}
	_, err = c.VolumeCreate(&r)
	if err == nil || ruleFor(0, err.Error()).kind != volume.Exhausted {
		return err
	}
	w.full[cluster] = true
	if _, none := b.chooseCluster(v, r.Name, size, w); none != nil {
		return err
	}
	return errMoved // the next turn tries the next cluster
}

// wish is what a class asks for.
type wish struct {
	volume.Parameters
	// clusters are those allowed; empty means all.
	clusters []string
	// full are those of which heketi said in this call that they are full.
	full map[string]bool
}

// chooseCluster returns the cluster that shall have the volume.
func (b *Backend) chooseCluster(v *view, name string, size volume.Size, w wish) (string, error) {
	var fits []string
	var free, whole volume.Size
	ids := w.clusters
	if len(ids) == 0 {
		ids = slices.Sorted(maps.Keys(v.Clusters))
	}
	for _, id := range ids {
		c, known := v.Clusters[id]
		if !known {
			return "", volume.NewFieldError("clusterid", id, "a cluster that heketi has (heketi-cli cluster list)")
		}
		if !c.Info.File || w.full[id] {
			continue
		}
		now, empty := v.largest(id, w.Parameters, freeNow), v.largest(id, w.Parameters, whenEmpty)
		free, whole = max(free, now), max(whole, empty)
		if now >= size {
			fits = append(fits, id)
		}
	}
	if len(fits) > 0 {
		return slices.MinFunc(fits, func(x, y string) int { return cmp.Compare(volume.Rank(name, x), volume.Rank(name, y)) }), nil
	}
	if len(ids) == 0 {
		return "", &volume.Error{
			Kind: volume.Precondition, Op: "choose a cluster", On: b.base.Host,
			Err: errors.New("heketi has no cluster"), Next: "load a topology into heketi: heketi-cli topology load",
		}
	}
	e := &volume.Error{
		Kind: volume.Exhausted, Op: "choose a cluster", On: b.base.Host,
		Err:  fmt.Errorf("a %s volume of %d bytes has no place: the largest that has one now is %d bytes", w.Type, size, free),
		Next: addRoom,
	}
	if size > whole {
		e.Kind = volume.OutOfRange
		e.Next = fmt.Sprintf("the largest volume of this type is %d bytes when all devices are empty and online", whole)
	}
	return "", e
}

// adopt returns nil where the volume that is there is what spec asks for and,
// as far as can be seen, can be mounted.
func (b *Backend) adopt(ctx context.Context, spec volume.Spec, v volume.Volume) error {
	if err := v.Satisfies(spec); err != nil {
		return err
	}
	if b.Gluster == nil {
		return nil
	}
	info, ok, err := b.inGluster(ctx, v.Handle.Name)
	refuse := func(kind volume.Kind, why error, next string) error {
		return &volume.Error{Kind: kind, Op: "create volume", On: b.on(v.Handle), Err: why, Next: next}
	}
	switch {
	case err != nil:
		return refuse(volume.Unavailable, fmt.Errorf("heketi has it, and Gluster does not tell whether it runs: %w", err), "bring an agent of the pool back")
	case !ok:
		if err := b.apart(ctx, "create volume", v); err != nil {
			return err
		}
		return refuse(volume.Exists, errors.New("heketi lists it, but Gluster has no such volume: heketi's database is older than its deletion"),
			"delete it, which removes it from heketi too")
	case info.Status != gluster.StatusStarted:
		return refuse(volume.Exists, errors.New("the volume exists and is stopped: its deletion was begun, or an administrator stopped it"),
			"delete it, or start it with: gluster volume start "+v.Handle.Name)
	}
	return nil
}

// refuseTaken returns an error where Gluster has a volume of that name that
// heketi does not know. heketi would try to make it, fail, and in undoing what
// it did not do delete the other volume.
func (b *Backend) refuseTaken(ctx context.Context, op string, h volume.Handle) error {
	_, taken, err := b.inGluster(ctx, h.Name)
	if err == nil && taken {
		if err := b.stillUnknown(ctx, h); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return &volume.Error{
			Kind: volume.Unavailable, Op: op, On: b.on(h),
			Err:  fmt.Errorf("nobody can tell whether Gluster has a volume of this name: %w", err),
			Next: "bring an agent of the pool back",
		}
	case taken:
		return &volume.Error{
			Kind: volume.Exists, Op: op, On: b.on(h),
			Err:  errors.New("there is a volume of this name in Gluster that heketi does not know: it was made by hand, or heketi's database was put back to an older one"),
			Next: "rename or remove that volume by hand if it is not needed",
		}
	}
	return nil
}
