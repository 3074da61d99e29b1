package csi

import (
	"context"
	"errors"
	"slices"
	"strings"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// What can be wrong with a mount on a node.
const (
	staleMount        = "StaleMount"        // the FUSE process is gone
	bricksUnreachable = "BricksUnreachable" // the FUSE process reaches no brick
	mountSilent       = "MountSilent"       // no answer in time
	mountUnknown      = "MountUnknown"      // another fault
	clientMissing     = "ClientMissing"     // this node cannot mount
)

// mountFault says what an error of mount.Usage means for the pods that use it.
func mountFault(err error) (reason, advice string) {
	switch {
	case errors.Is(err, mount.ErrStale):
		return staleMount, "its FUSE process is gone: pods that use it must be started again"
	case errors.Is(err, mount.ErrDisconnected):
		return bricksUnreachable, "it comes back by itself once the volume's bricks can be reached"
	case errors.Is(err, mount.ErrSilent):
		return mountSilent, "it may come back by itself; see whether the storage nodes can be reached"
	}
	return mountUnknown, "see the client's log"
}

// NodeGetVolumeHealth says what is wrong with a volume's mounts on this node.
// One that is mounted nowhere is healthy as far as this node can tell: the call
// is allowed for it, and the spec keeps NotFound for volumes that do not exist.
func (n *Node) NodeGetVolumeHealth(ctx context.Context, req *csipb.NodeGetVolumeHealthRequest) (*csipb.NodeGetVolumeHealthResponse, error) {
	h, err := volume.ParseHandle(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	for field, path := range map[string]string{"volume_publish_path": req.GetVolumePublishPath(), "staging_target_path": req.GetStagingTargetPath()} {
		if path != "" {
			if err := checkPath(field, path); err != nil {
				return nil, err
			}
		}
	}
	table, err := n.mounts.Mounts(ctx)
	if err != nil {
		return nil, err
	}
	out := &csipb.VolumeHealth{VolumeId: h.String()}
	entries := map[string]*csipb.VolumeHealth_VolumeHealthEntry{}
	for _, m := range clients(table) {
		if m.Volume() != h.Name {
			continue
		}
		_, err := n.mounts.Usage(ctx, m.Target)
		if err == nil || volume.Is(err, volume.NotFound) { // well, or unmounted meanwhile
			continue
		}
		reason, advice := mountFault(err)
		message := m.Target + ": " + err.Error() + "; " + advice
		if e, there := entries[reason]; there {
			e.Message += "; " + message
			continue
		}
		entries[reason] = &csipb.VolumeHealth_VolumeHealthEntry{
			Status: csipb.VolumeHealthErrorType_INACCESSIBLE, Reason: reason, Message: message,
		}
		out.HealthStatuses = append(out.HealthStatuses, entries[reason])
	}
	return &csipb.NodeGetVolumeHealthResponse{VolumeHealth: out}, nil
}

// clients returns one mount of each Gluster client: to ask every bind mount
// would ask the same process again.
func clients(table []mount.Mount) []mount.Mount {
	var found []mount.Mount
	for _, m := range table {
		same := func(other mount.Mount) bool { return other.Device == m.Device }
		if m.Volume() != "" && !slices.ContainsFunc(found, same) {
			found = append(found, m)
		}
	}
	return found
}

// CountMounts returns how many Gluster clients are mounted on this node, and at
// how many places beside their staging paths their volumes are shown. It asks no
// client.
func (n *Node) CountMounts(ctx context.Context) (staged, published int, err error) {
	table, err := n.mounts.Mounts(ctx)
	if err != nil {
		return 0, 0, err
	}
	all := 0
	for _, m := range table {
		if m.Volume() != "" {
			all++
		}
	}
	staged = len(clients(table))
	return staged, all - staged, nil
}

// NodeGetStorageHealth says what keeps this node from using Gluster volumes in
// general, and which of its mounts need attention.
func (n *Node) NodeGetStorageHealth(ctx context.Context, _ *csipb.NodeGetStorageHealthRequest) (*csipb.NodeGetStorageHealthResponse, error) {
	resp := &csipb.NodeGetStorageHealthResponse{}
	if err := n.mounts.Ready(ctx); err != nil {
		resp.BackendHealth = append(resp.BackendHealth, &csipb.NodeGetStorageHealthResponse_StorageBackendHealth{
			Status: csipb.StorageHealthErrorType_STORAGE_UNREACHABLE, Reason: clientMissing, Message: err.Error(),
		})
	}
	table, err := n.mounts.Mounts(ctx)
	if err != nil {
		return nil, err
	}
	broken := n.broken(ctx, clients(table))
	for _, reason := range []string{staleMount, bricksUnreachable, mountSilent, mountUnknown} {
		if names := broken[reason]; len(names) > 0 {
			resp.BackendHealth = append(resp.BackendHealth, &csipb.NodeGetStorageHealthResponse_StorageBackendHealth{
				Status: csipb.StorageHealthErrorType_STORAGE_DEGRADED, Reason: reason, Message: "volumes: " + strings.Join(names, ", "),
			})
		}
	}
	return resp, nil
}

// askAtOnce bounds how many clients are asked at the same time; each that hangs
// takes a thread.
const askAtOnce = 16

// broken returns the volumes of the mounts that do not answer, by reason.
func (n *Node) broken(ctx context.Context, mounts []mount.Mount) map[string][]string {
	reasons := make([]string, len(mounts))
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for i, m := range mounts {
		group.Go(func() error {
			if _, err := n.mounts.Usage(ctx, m.Target); err != nil && !volume.Is(err, volume.NotFound) {
				reasons[i], _ = mountFault(err)
			}
			return nil
		})
	}
	_ = group.Wait() // no member fails
	broken := map[string][]string{}
	for i, reason := range reasons {
		if reason != "" {
			broken[reason] = append(broken[reason], mounts[i].Volume())
		}
	}
	return broken
}
