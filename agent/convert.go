package agent

import (
	"time"

	"bricklayer.csi/agent/agentpb"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// Every type that crosses the wire has a pair of functions here: xToPB and
// xFromPB. They only convert; Checker judges.

func mapSlice[A, B any](in []A, f func(A) B) []B {
	if in == nil {
		return nil
	}
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}

func timeToPB(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeFromPB(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func refToPB(r brick.Ref) *agentpb.BrickRef {
	return &agentpb.BrickRef{Root: r.Root, Volume: r.Volume}
}

func refFromPB(r *agentpb.BrickRef) brick.Ref {
	return brick.Ref{Root: r.GetRoot(), Volume: r.GetVolume()}
}

func quotaToPB(q brick.Quota) *agentpb.Quota {
	return &agentpb.Quota{Bytes: int64(q.Bytes), Inodes: q.Inodes}
}

func quotaFromPB(q *agentpb.Quota) brick.Quota {
	return brick.Quota{Bytes: volume.Size(q.GetBytes()), Inodes: q.GetInodes()}
}

func markToPB(m brick.Mark) *agentpb.Mark {
	return &agentpb.Mark{
		Handle: m.Handle, Size: int64(m.Size), Type: m.Type, Fingerprint: m.Fingerprint, Gid: int64(m.GID),
		OnDelete: string(m.OnDelete),
		Layout:   mapSlice(m.Layout, func(p brick.Place) *agentpb.Place { return &agentpb.Place{Node: p.Node, Root: p.Root} }),
	}
}

func markFromPB(m *agentpb.Mark) brick.Mark {
	return brick.Mark{
		Handle: m.GetHandle(), Size: volume.Size(m.GetSize()), Type: m.GetType(), Fingerprint: m.GetFingerprint(), GID: int(m.GetGid()),
		OnDelete: volume.OnDelete(m.GetOnDelete()),
		Layout: mapSlice(m.GetLayout(), func(p *agentpb.Place) brick.Place {
			return brick.Place{Node: p.GetNode(), Root: p.GetRoot()}
		}),
	}
}

func brickToPB(b brick.Brick) *agentpb.BrickDir {
	return &agentpb.BrickDir{
		Ref: refToPB(b.Ref), Mark: markToPB(b.Mark), Path: b.Path, Quota: quotaToPB(b.Quota),
		Used: int64(b.Used), UsedInodes: b.UsedInodes, ProjectId: b.ProjectID, Problem: b.Problem,
	}
}

func brickFromPB(b *agentpb.BrickDir) brick.Brick {
	return brick.Brick{
		Ref: refFromPB(b.GetRef()), Mark: markFromPB(b.GetMark()), Path: b.GetPath(), Quota: quotaFromPB(b.GetQuota()),
		Used: volume.Size(b.GetUsed()), UsedInodes: b.GetUsedInodes(), ProjectID: b.GetProjectId(), Problem: b.GetProblem(),
	}
}

func makeToPB(r brick.MakeRequest) *agentpb.MakeBrickRequest {
	return &agentpb.MakeBrickRequest{
		Ref: refToPB(r.Ref), Mark: markToPB(r.Mark), Quota: quotaToPB(r.Quota), Enforce: r.Enforce, Mode: r.Mode,
	}
}

func makeFromPB(r *agentpb.MakeBrickRequest) brick.MakeRequest {
	return brick.MakeRequest{
		Ref: refFromPB(r.GetRef()), Mark: markFromPB(r.GetMark()), Quota: quotaFromPB(r.GetQuota()),
		Enforce: r.GetEnforce(), Mode: r.GetMode(),
	}
}

// removeModes pairs the modes with those on the wire.
var removeModes = map[brick.RemoveMode]agentpb.RemoveMode{
	brick.ToTrash:   agentpb.RemoveMode_REMOVE_MODE_TRASH,
	brick.ToArchive: agentpb.RemoveMode_REMOVE_MODE_ARCHIVE,
}

func removeToPB(r brick.RemoveRequest) *agentpb.RemoveBrickRequest {
	return &agentpb.RemoveBrickRequest{Ref: refToPB(r.Ref), Mode: removeModes[r.Mode]}
}

func removeFromPB(r *agentpb.RemoveBrickRequest) brick.RemoveRequest {
	out := brick.RemoveRequest{Ref: refFromPB(r.GetRef())}
	for mode, pb := range removeModes {
		if pb == r.GetMode() {
			out.Mode = mode
		}
	}
	return out
}

func rootToPB(r brick.RootState) *agentpb.RootState {
	return &agentpb.RootState{
		Name: r.Name, Path: r.Path, Problem: r.Problem, Id: r.ID, FileSystem: r.FileSystem, Options: r.Options, Quota: r.Quota,
		Total: int64(r.Total), Used: int64(r.Used), Free: int64(r.Free),
		Committed: int64(r.Committed), Available: int64(r.Available),
		Bricks: int64(r.Bricks), Trash: int64(r.Trash), Blank: r.Blank,
		Gids: mapSlice(r.GIDs, func(g int) int64 { return int64(g) }),
	}
}

func rootFromPB(r *agentpb.RootState) brick.RootState {
	return brick.RootState{
		Name: r.GetName(), Path: r.GetPath(), Problem: r.GetProblem(), ID: r.GetId(), FileSystem: r.GetFileSystem(),
		Options: r.GetOptions(), Quota: r.GetQuota(),
		Total: volume.Size(r.GetTotal()), Used: volume.Size(r.GetUsed()), Free: volume.Size(r.GetFree()),
		Committed: volume.Size(r.GetCommitted()), Available: volume.Size(r.GetAvailable()),
		Bricks: int(r.GetBricks()), Trash: int(r.GetTrash()), Blank: r.GetBlank(),
		GIDs: mapSlice(r.GetGids(), func(g int64) int { return int(g) }),
	}
}

func policyToPB(p brick.Policy) *agentpb.Policy {
	return &agentpb.Policy{OvercommitPercent: int64(p.OvercommitPercent), TrashEntriesPerSecond: int64(p.TrashEntriesPerSecond)}
}

func policyFromPB(p *agentpb.Policy) brick.Policy {
	return brick.Policy{OvercommitPercent: int(p.GetOvercommitPercent()), TrashEntriesPerSecond: int(p.GetTrashEntriesPerSecond())}
}

func descriptionToPB(d Description) *agentpb.DescribeResponse {
	return &agentpb.DescribeResponse{
		Node: d.Node, Pool: d.Pool, Version: d.Version, Protocol: int32(d.Protocol), Roots: mapSlice(d.Roots, rootToPB), Policy: policyToPB(d.Policy),
		GlusterVersion: d.GlusterVersion, GlusterdReady: d.GlusterdReady,
		MemoryTotal: d.MemoryTotal, MemoryAvailable: d.MemoryAvailable, MemoryPressure: d.MemoryPressure,
		BrickProcesses: int64(d.BrickProcesses), BrickMemory: d.BrickMemory,
		Clock: timeToPB(d.Clock), ClockSynchronised: d.ClockSynchronised,
		CertificateExpires: timeToPB(d.CertificateExpires), Problems: d.Problems, Load: d.Load,
	}
}

func descriptionFromPB(d *agentpb.DescribeResponse) Description {
	return Description{
		Node: d.GetNode(), Pool: d.GetPool(), Version: d.GetVersion(), Protocol: int(d.GetProtocol()), Roots: mapSlice(d.GetRoots(), rootFromPB), Policy: policyFromPB(d.GetPolicy()),
		GlusterVersion: d.GetGlusterVersion(), GlusterdReady: d.GetGlusterdReady(),
		MemoryTotal: d.GetMemoryTotal(), MemoryAvailable: d.GetMemoryAvailable(), MemoryPressure: d.GetMemoryPressure(),
		BrickProcesses: int(d.GetBrickProcesses()), BrickMemory: d.GetBrickMemory(),
		Clock: timeFromPB(d.GetClock()), ClockSynchronised: d.GetClockSynchronised(),
		CertificateExpires: timeFromPB(d.GetCertificateExpires()), Problems: d.GetProblems(), Load: d.Load,
	}
}

func volumeBrickToPB(b gluster.Brick) *agentpb.VolumeBrick {
	return &agentpb.VolumeBrick{Host: b.Host, Path: b.Path, Arbiter: b.Arbiter}
}

func volumeBrickFromPB(b *agentpb.VolumeBrick) gluster.Brick {
	return gluster.Brick{Host: b.GetHost(), Path: b.GetPath(), Arbiter: b.GetArbiter()}
}

func createToPB(r gluster.CreateRequest) *agentpb.CreateVolumeRequest {
	return &agentpb.CreateVolumeRequest{
		Name: r.Name, Replica: int32(r.Replica), Arbiter: int32(r.Arbiter), Disperse: int32(r.Disperse), Redundancy: int32(r.Redundancy),
		Bricks: mapSlice(r.Bricks, volumeBrickToPB),
	}
}

func createFromPB(r *agentpb.CreateVolumeRequest) gluster.CreateRequest {
	return gluster.CreateRequest{
		Name: r.GetName(), Replica: int(r.GetReplica()), Arbiter: int(r.GetArbiter()),
		Disperse: int(r.GetDisperse()), Redundancy: int(r.GetRedundancy()),
		Bricks: mapSlice(r.GetBricks(), volumeBrickFromPB),
	}
}

func optionToPB(o gluster.Option) *agentpb.Option { return &agentpb.Option{Key: o.Key, Value: o.Value} }

func optionFromPB(o *agentpb.Option) gluster.Option {
	return gluster.Option{Key: o.GetKey(), Value: o.GetValue()}
}

func volumeToPB(v gluster.Volume) *agentpb.GlusterVolume {
	return &agentpb.GlusterVolume{
		Name: v.Name, Id: v.ID, Status: string(v.Status),
		Replica: int32(v.Replica), Arbiter: int32(v.Arbiter), Disperse: int32(v.Disperse), Redundancy: int32(v.Redundancy),
		Distribute: int32(v.Distribute), Bricks: mapSlice(v.Bricks, volumeBrickToPB), Options: v.Options,
	}
}

func volumeFromPB(v *agentpb.GlusterVolume) gluster.Volume {
	return gluster.Volume{
		Name: v.GetName(), ID: v.GetId(), Status: gluster.Status(v.GetStatus()),
		Replica: int(v.GetReplica()), Arbiter: int(v.GetArbiter()), Disperse: int(v.GetDisperse()), Redundancy: int(v.GetRedundancy()),
		Distribute: int(v.GetDistribute()), Bricks: mapSlice(v.GetBricks(), volumeBrickFromPB), Options: v.GetOptions(),
	}
}

func statusToPB(s gluster.BrickStatus) *agentpb.BrickStatus {
	return &agentpb.BrickStatus{
		Brick: volumeBrickToPB(s.Brick), Online: s.Online, Pid: int64(s.PID),
		SizeTotal: s.SizeTotal, SizeFree: s.SizeFree, InodesTotal: s.InodesTotal, InodesFree: s.InodesFree,
	}
}

func statusFromPB(s *agentpb.BrickStatus) gluster.BrickStatus {
	return gluster.BrickStatus{
		Brick: volumeBrickFromPB(s.GetBrick()), Online: s.GetOnline(), PID: int(s.GetPid()),
		SizeTotal: s.GetSizeTotal(), SizeFree: s.GetSizeFree(), InodesTotal: s.GetInodesTotal(), InodesFree: s.GetInodesFree(),
	}
}

func healToPB(h gluster.BrickHeal) *agentpb.BrickHeal {
	return &agentpb.BrickHeal{Brick: volumeBrickToPB(h.Brick), Connected: h.Connected, Pending: h.Pending, SplitBrain: h.SplitBrain}
}

func healFromPB(h *agentpb.BrickHeal) gluster.BrickHeal {
	return gluster.BrickHeal{Brick: volumeBrickFromPB(h.GetBrick()), Connected: h.GetConnected(), Pending: h.GetPending(), SplitBrain: h.GetSplitBrain()}
}

func peerToPB(p gluster.Peer) *agentpb.Peer {
	return &agentpb.Peer{Uuid: p.UUID, Hostname: p.Hostname, Names: p.Names, Local: p.Local, Connected: p.Connected, State: p.State}
}

func peerFromPB(p *agentpb.Peer) gluster.Peer {
	return gluster.Peer{
		UUID: p.GetUuid(), Hostname: p.GetHostname(), Names: p.GetNames(), Local: p.GetLocal(),
		Connected: p.GetConnected(), State: p.GetState(),
	}
}
