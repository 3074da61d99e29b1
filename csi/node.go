package csi

import (
	"context"
	"log/slog"
	"strings"
	"unicode"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"bricklayer.csi/internal/fsgroup"
	"bricklayer.csi/internal/lifecycle"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// NodeOptions say which node this is.
type NodeOptions struct {
	// ID is the node's name, as the orchestrator knows it.
	ID     string
	Mounts mount.Mounter
	// Groups gives volumes to the groups of pods; nil means fsgroup's.
	Groups Groups
	Log    *slog.Logger
}

// Groups gives mounted volumes to groups: see fsgroup.Groups.
type Groups interface {
	Apply(ctx context.Context, v fsgroup.Volume, gid int) error
	Stop(ctx context.Context, name string)
}

// Node is the CSI node service. It keeps nothing: what is staged and published
// it reads from the mount table, so that it can be restarted at any moment.
// Make it with NewNode.
type Node struct {
	csipb.UnimplementedNodeServer
	id     string
	mounts mount.Mounter
	groups Groups
	locks  *lifecycle.Locks
	log    *slog.Logger
}

// maxNodeID is what the spec allows.
const maxNodeID = 256

// NewNode checks the options.
func NewNode(o NodeOptions) (*Node, error) {
	if o.ID == "" || len(o.ID) > maxNodeID || strings.ContainsFunc(o.ID, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }) {
		return nil, volume.NewFieldError("node ID", o.ID, "1 to 256 bytes without spaces or control characters")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Groups == nil {
		o.Groups = fsgroup.New(o.Log)
	}
	return &Node{id: o.ID, mounts: o.Mounts, groups: o.Groups, locks: lifecycle.NewLocks(), log: o.Log}, nil
}

// nodeCapabilities is what the node service can do.
var nodeCapabilities = []csipb.NodeServiceCapability_RPC_Type{
	csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
	csipb.NodeServiceCapability_RPC_GET_VOLUME_STATS,
	csipb.NodeServiceCapability_RPC_EXPAND_VOLUME,
	csipb.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	csipb.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP,
	csipb.NodeServiceCapability_RPC_GET_VOLUME_HEALTH,
	csipb.NodeServiceCapability_RPC_GET_STORAGE_HEALTH,
}

// NodeGetCapabilities says what the node service can do.
func (n *Node) NodeGetCapabilities(context.Context, *csipb.NodeGetCapabilitiesRequest) (*csipb.NodeGetCapabilitiesResponse, error) {
	resp := &csipb.NodeGetCapabilitiesResponse{}
	for _, t := range nodeCapabilities {
		resp.Capabilities = append(resp.Capabilities, &csipb.NodeServiceCapability{
			Type: &csipb.NodeServiceCapability_Rpc{Rpc: &csipb.NodeServiceCapability_RPC{Type: t}},
		})
	}
	return resp, nil
}

// NodeGetInfo says which node this is. It sets no limit on volumes.
func (n *Node) NodeGetInfo(context.Context, *csipb.NodeGetInfoRequest) (*csipb.NodeGetInfoResponse, error) {
	return &csipb.NodeGetInfoResponse{NodeId: n.id}, nil
}

// NodeStageVolume mounts a volume at its staging path, once for all pods.
func (n *Node) NodeStageVolume(ctx context.Context, req *csipb.NodeStageVolumeRequest) (*csipb.NodeStageVolumeResponse, error) {
	s, err := parseStage(req)
	if err != nil {
		return nil, err
	}
	unlock, err := n.lock(s.handle, "stage volume")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := n.stage(ctx, s); err != nil {
		return nil, err
	}
	return &csipb.NodeStageVolumeResponse{}, nil
}

// NodeUnstageVolume ends the mount at the staging path; the directory is the orchestrator's.
func (n *Node) NodeUnstageVolume(ctx context.Context, req *csipb.NodeUnstageVolumeRequest) (*csipb.NodeUnstageVolumeResponse, error) {
	h, path, err := parsePlace("staging_target_path", req.GetVolumeId(), req.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	unlock, err := n.lock(h, "unstage volume")
	if err != nil {
		return nil, err
	}
	defer unlock()
	n.groups.Stop(ctx, h.String())
	if err := n.unmount(ctx, h, path); err != nil {
		return nil, err
	}
	return &csipb.NodeUnstageVolumeResponse{}, nil
}

// NodePublishVolume shows a staged volume at a pod's path.
func (n *Node) NodePublishVolume(ctx context.Context, req *csipb.NodePublishVolumeRequest) (*csipb.NodePublishVolumeResponse, error) {
	p, err := parsePublish(req)
	if err != nil {
		return nil, err
	}
	unlock, err := n.lock(p.handle, "publish volume")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := n.publish(ctx, p); err != nil {
		return nil, err
	}
	return &csipb.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume ends the mount at a pod's path and removes its directory.
func (n *Node) NodeUnpublishVolume(ctx context.Context, req *csipb.NodeUnpublishVolumeRequest) (*csipb.NodeUnpublishVolumeResponse, error) {
	h, path, err := parsePlace("target_path", req.GetVolumeId(), req.GetTargetPath())
	if err != nil {
		return nil, err
	}
	unlock, err := n.lock(h, "unpublish volume")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := n.unmount(ctx, h, path); err != nil {
		return nil, err
	}
	if err := removeDir(path); err != nil {
		return nil, err
	}
	return &csipb.NodeUnpublishVolumeResponse{}, nil
}

// NodeExpandVolume has nothing to do, because clients show a grown volume's size
// by themselves. It answers that size, as the mount shows it.
func (n *Node) NodeExpandVolume(ctx context.Context, req *csipb.NodeExpandVolumeRequest) (*csipb.NodeExpandVolumeResponse, error) {
	if req.GetCapacityRange() != nil {
		if _, err := givenRange(req.GetCapacityRange()); err != nil {
			return nil, err
		}
	}
	u, err := n.usage(ctx, req.GetVolumeId(), req.GetVolumePath())
	if err != nil {
		return nil, err
	}
	return &csipb.NodeExpandVolumeResponse{CapacityBytes: u.Total}, nil
}

// NodeGetVolumeStats says how full a mounted volume is, in bytes and inodes.
func (n *Node) NodeGetVolumeStats(ctx context.Context, req *csipb.NodeGetVolumeStatsRequest) (*csipb.NodeGetVolumeStatsResponse, error) {
	u, err := n.usage(ctx, req.GetVolumeId(), req.GetVolumePath())
	if err != nil {
		return nil, err
	}
	return &csipb.NodeGetVolumeStatsResponse{Usage: []*csipb.VolumeUsage{
		{Unit: csipb.VolumeUsage_BYTES, Total: u.Total, Used: max(0, u.Total-u.Free), Available: u.Available},
		{Unit: csipb.VolumeUsage_INODES, Total: u.Files, Used: max(0, u.Files-u.FilesFree), Available: u.FilesFree},
	}}, nil
}

// lock takes the volume's lock on this node.
func (n *Node) lock(h volume.Handle, op string) (unlock func(), err error) {
	unlock, ok := n.locks.TryLock(h)
	if !ok {
		return nil, &volume.Error{Kind: volume.Busy, Op: op, On: h.String(), Err: errBusy, Next: "repeat the call later"}
	}
	return unlock, nil
}
