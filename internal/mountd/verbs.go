package mountd

import (
	"context"
	"strings"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mountd/mountpb"
)

// verbs are the methods of the service: each checks what it is asked, makes
// one call, and converts.
type verbs struct {
	mountpb.UnimplementedMounterServer
	guard   guard
	mounts  mount.Mounter
	targets targets
}

// enter waits until no other call works on the target, and reads what is mounted.
func (v *verbs) enter(ctx context.Context, target string) (table []mount.Mount, unlock func(), err error) {
	if unlock, err = v.targets.lock(ctx, target); err != nil {
		return nil, nil, err
	}
	if table, err = v.mounts.Mounts(ctx); err != nil {
		unlock()
		return nil, nil, err
	}
	return table, unlock, nil
}

// Glusterfs mounts a volume.
func (v *verbs) Glusterfs(ctx context.Context, req *mountpb.GlusterfsRequest) (*mountpb.GlusterfsResponse, error) {
	src, err := mount.NewSource(strings.Join(req.GetServers(), ","), req.GetVolume())
	if err != nil {
		return nil, err
	}
	flags, err := mount.ParseFlags(req.GetFlags())
	if err != nil {
		return nil, err
	}
	if err := v.guard.place("target", req.GetTarget()); err != nil {
		return nil, err
	}
	table, unlock, err := v.enter(ctx, req.GetTarget())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := point(table, req.GetTarget()); err != nil {
		return nil, err
	}
	return &mountpb.GlusterfsResponse{}, v.mounts.Glusterfs(ctx, src, req.GetTarget(), flags)
}

// Bind shows a mounted volume elsewhere.
func (v *verbs) Bind(ctx context.Context, req *mountpb.BindRequest) (*mountpb.BindResponse, error) {
	for field, path := range map[string]string{"source": req.GetSource(), "target": req.GetTarget()} {
		if err := v.guard.place(field, path); err != nil {
			return nil, err
		}
	}
	table, unlock, err := v.enter(ctx, req.GetTarget())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := shown("bind", table, req.GetSource()); err != nil {
		return nil, err
	}
	if err := point(table, req.GetTarget()); err != nil {
		return nil, err
	}
	return &mountpb.BindResponse{}, v.mounts.Bind(ctx, req.GetSource(), req.GetTarget(), req.GetReadOnly())
}

// Unmount ends a volume's mount, and no other's.
func (v *verbs) Unmount(ctx context.Context, req *mountpb.UnmountRequest) (*mountpb.UnmountResponse, error) {
	if err := v.guard.place("target", req.GetTarget()); err != nil {
		return nil, err
	}
	table, unlock, err := v.enter(ctx, req.GetTarget())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, mounted := mount.At(table, req.GetTarget()); !mounted {
		return &mountpb.UnmountResponse{}, nil
	}
	if err := shown("unmount", table, req.GetTarget()); err != nil {
		return nil, err
	}
	return &mountpb.UnmountResponse{}, v.mounts.Unmount(ctx, req.GetTarget())
}

// Mounts lists what is mounted below the directories, whatever it is: the node
// service must know what stands in its way.
func (v *verbs) Mounts(ctx context.Context, _ *mountpb.MountsRequest) (*mountpb.MountsResponse, error) {
	table, err := v.mounts.Mounts(ctx)
	if err != nil {
		return nil, err
	}
	resp := &mountpb.MountsResponse{}
	for _, m := range table {
		if v.guard.covers(m.Target) {
			resp.Mounts = append(resp.Mounts, toMount(m))
		}
	}
	return resp, nil
}

// Usage asks a mount for its space, and so whether it answers.
func (v *verbs) Usage(ctx context.Context, req *mountpb.UsageRequest) (*mountpb.UsageResponse, error) {
	if err := v.guard.place("target", req.GetTarget()); err != nil {
		return nil, err
	}
	u, err := v.mounts.Usage(ctx, req.GetTarget())
	if err != nil {
		return nil, err
	}
	return &mountpb.UsageResponse{Total: u.Total, Free: u.Free, Available: u.Available, Files: u.Files, FilesFree: u.FilesFree}, nil
}

// Ready says whether this host can mount.
func (v *verbs) Ready(ctx context.Context, _ *mountpb.ReadyRequest) (*mountpb.ReadyResponse, error) {
	return &mountpb.ReadyResponse{}, v.mounts.Ready(ctx)
}

// toMount keeps a line of the table that is not UTF-8 from failing the whole:
// the wire demands it, and paths may be any bytes.
func toMount(m mount.Mount) *mountpb.Mount {
	return &mountpb.Mount{
		Target: clean(m.Target), Root: clean(m.Root), Type: clean(m.Type), Source: clean(m.Source), Device: m.Device,
		ReadOnly: m.ReadOnly, ReadOnlyClient: m.ReadOnlyClient,
	}
}

func clean(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

func fromMount(m *mountpb.Mount) mount.Mount {
	return mount.Mount{
		Target: m.GetTarget(), Root: m.GetRoot(), Type: m.GetType(), Source: m.GetSource(), Device: m.GetDevice(),
		ReadOnly: m.GetReadOnly(), ReadOnlyClient: m.GetReadOnlyClient(),
	}
}
