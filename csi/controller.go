package csi

import (
	"context"
	"errors"
	"log/slog"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"bricklayer.csi/internal/volume"
)

// Volumes are the use cases that the controller service serves; see
// lifecycle.Service, which has them.
type Volumes interface {
	Spec(name string, size volume.SizeRange, parameters map[string]string) (volume.Spec, error)
	Create(ctx context.Context, spec volume.Spec) (volume.Volume, error)
	Get(ctx context.Context, h volume.Handle) (volume.Volume, error)
	List(ctx context.Context) ([]volume.Volume, error)
	Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (volume.Volume, error)
	Delete(ctx context.Context, h volume.Handle) error
	Capacity(ctx context.Context, parameters map[string]string, zones []string) (volume.Capacity, error)
	Health(ctx context.Context, h volume.Handle) (volume.Health, error)
}

// Controller is the CSI controller service. What it does not implement
// (publishing, snapshots, modifying) its embedded server refuses with
// Unimplemented, as the capabilities say.
type Controller struct {
	csipb.UnimplementedControllerServer
	volumes Volumes
	log     *slog.Logger
}

// NewController returns a controller service over the use cases.
func NewController(volumes Volumes, log *slog.Logger) *Controller {
	return &Controller{volumes: volumes, log: log}
}

// controllerCapabilities is what the controller service can do.
var controllerCapabilities = []csipb.ControllerServiceCapability_RPC_Type{
	csipb.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
	csipb.ControllerServiceCapability_RPC_LIST_VOLUMES,
	csipb.ControllerServiceCapability_RPC_GET_CAPACITY,
	csipb.ControllerServiceCapability_RPC_EXPAND_VOLUME,
	csipb.ControllerServiceCapability_RPC_GET_VOLUME,
	csipb.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	csipb.ControllerServiceCapability_RPC_GET_VOLUME_HEALTH,
	csipb.ControllerServiceCapability_RPC_LIST_VOLUME_HEALTH,
}

// ControllerGetCapabilities says what the controller service can do.
func (c *Controller) ControllerGetCapabilities(context.Context, *csipb.ControllerGetCapabilitiesRequest) (*csipb.ControllerGetCapabilitiesResponse, error) {
	resp := &csipb.ControllerGetCapabilitiesResponse{}
	for _, t := range controllerCapabilities {
		resp.Capabilities = append(resp.Capabilities, &csipb.ControllerServiceCapability{
			Type: &csipb.ControllerServiceCapability_Rpc{Rpc: &csipb.ControllerServiceCapability_RPC{Type: t}},
		})
	}
	return resp, nil
}

// CreateVolume makes a volume, or returns the one that an earlier call made.
func (c *Controller) CreateVolume(ctx context.Context, req *csipb.CreateVolumeRequest) (*csipb.CreateVolumeResponse, error) {
	spec, err := createSpec(c.volumes, req)
	if err != nil {
		return nil, err
	}
	v, err := c.volumes.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &csipb.CreateVolumeResponse{Volume: toVolume(v)}, nil
}

// DeleteVolume removes a volume. An ID that never was one of ours names
// nothing, so there is nothing to delete.
func (c *Controller) DeleteVolume(ctx context.Context, req *csipb.DeleteVolumeRequest) (*csipb.DeleteVolumeResponse, error) {
	h, err := volume.ParseHandle(req.GetVolumeId())
	if volume.Is(err, volume.NotFound) && !volume.LooksLikeHandle(req.GetVolumeId()) {
		c.log.WarnContext(ctx, "nothing to delete: the ID is none of ours", "reason", err)
		return &csipb.DeleteVolumeResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := c.volumes.Delete(ctx, h); err != nil {
		return nil, err
	}
	return &csipb.DeleteVolumeResponse{}, nil
}

// ControllerGetVolume returns one volume. It is published nowhere as far as a
// controller knows: nodes mount without it.
func (c *Controller) ControllerGetVolume(ctx context.Context, req *csipb.ControllerGetVolumeRequest) (*csipb.ControllerGetVolumeResponse, error) {
	v, err := c.get(ctx, req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	return &csipb.ControllerGetVolumeResponse{Volume: toVolume(v), Status: &csipb.ControllerGetVolumeResponse_VolumeStatus{}}, nil
}

func (c *Controller) get(ctx context.Context, id string) (volume.Volume, error) {
	h, err := volume.ParseHandle(id)
	if err != nil {
		return volume.Volume{}, err
	}
	return c.volumes.Get(ctx, h)
}

// ListVolumes returns the volumes of all pools, page by page.
func (c *Controller) ListVolumes(ctx context.Context, req *csipb.ListVolumesRequest) (*csipb.ListVolumesResponse, error) {
	if err := checkMaxEntries(req.GetMaxEntries()); err != nil {
		return nil, err
	}
	if _, err := parseToken(req.GetStartingToken()); err != nil {
		return nil, err
	}
	all, err := c.volumes.List(ctx)
	if err != nil {
		return nil, err
	}
	page, err := rest(all, req.GetStartingToken())
	if err != nil {
		return nil, err
	}
	resp := &csipb.ListVolumesResponse{}
	if most := int(req.GetMaxEntries()); most > 0 && len(page) > most {
		page = page[:most]
		resp.NextToken = token(page[most-1].Handle)
	}
	for _, v := range page {
		resp.Entries = append(resp.Entries, &csipb.ListVolumesResponse_Entry{Volume: toVolume(v)})
	}
	return resp, nil
}

// GetCapacity says how much room there is for volumes of a class.
func (c *Controller) GetCapacity(ctx context.Context, req *csipb.GetCapacityRequest) (*csipb.GetCapacityResponse, error) {
	if err := absent("accessible_topology", len(req.GetAccessibleTopology().GetSegments()) > 0, "every node reaches every volume, so there is no topology"); err != nil {
		return nil, err
	}
	if list := req.GetVolumeCapabilities(); len(list) > 0 && !areServed(list) {
		return &csipb.GetCapacityResponse{}, nil // of what cannot be made there is room for none
	}
	room, err := c.volumes.Capacity(ctx, req.GetParameters(), nil)
	if err != nil {
		return nil, err
	}
	return &csipb.GetCapacityResponse{
		AvailableCapacity: int64(room.Available),
		MaximumVolumeSize: wrapperspb.Int64(int64(room.Largest)),
		MinimumVolumeSize: wrapperspb.Int64(int64(room.Smallest)),
	}, nil
}

// ControllerExpandVolume grows a volume, mounted or not. Clients show the new
// size at once, so no node has anything to do: saying so lets a claim finish
// growing while no pod uses it.
func (c *Controller) ControllerExpandVolume(ctx context.Context, req *csipb.ControllerExpandVolumeRequest) (*csipb.ControllerExpandVolumeResponse, error) {
	if err := given("volume_id", req.GetVolumeId()); err != nil {
		return nil, err
	}
	size, err := givenRange(req.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	if req.GetVolumeCapability() != nil {
		if _, err := parseCapability("volume_capability", req.GetVolumeCapability()); err != nil {
			return nil, err
		}
	}
	h, err := volume.ParseHandle(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	v, err := c.volumes.Expand(ctx, h, size)
	if err != nil {
		return nil, err
	}
	return &csipb.ControllerExpandVolumeResponse{CapacityBytes: int64(v.Size), NodeExpansionRequired: false}, nil
}

// ValidateVolumeCapabilities says whether a volume can be used as described.
func (c *Controller) ValidateVolumeCapabilities(ctx context.Context, req *csipb.ValidateVolumeCapabilitiesRequest) (*csipb.ValidateVolumeCapabilitiesResponse, error) {
	if err := given("volume_id", req.GetVolumeId()); err != nil {
		return nil, err
	}
	if len(req.GetVolumeCapabilities()) == 0 {
		return nil, volume.NewFieldError("volume_capabilities", "", "1 to 64 entries")
	}
	v, err := c.get(ctx, req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if objection := c.objection(v, req); objection != "" {
		return &csipb.ValidateVolumeCapabilitiesResponse{Message: objection}, nil
	}
	return &csipb.ValidateVolumeCapabilitiesResponse{Confirmed: &csipb.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext:      req.GetVolumeContext(),
		VolumeCapabilities: req.GetVolumeCapabilities(),
		Parameters:         req.GetParameters(),
	}}, nil
}

// objection says why the volume is not what the request takes it for, or nothing.
func (c *Controller) objection(v volume.Volume, req *csipb.ValidateVolumeCapabilitiesRequest) string {
	if err := c.confirm(v, req); err != nil {
		return err.Error()
	}
	return ""
}

func (c *Controller) confirm(v volume.Volume, req *csipb.ValidateVolumeCapabilitiesRequest) error {
	err := firstError(
		checkCapabilities(req.GetVolumeCapabilities()),
		absent("mutable_parameters", len(req.GetMutableParameters()) > 0, "this driver modifies no volumes"),
	)
	if err != nil {
		return err
	}
	if err := confirmContext(v, req.GetVolumeContext()); err != nil {
		return err
	}
	if len(req.GetParameters()) == 0 {
		return nil
	}
	spec, err := c.volumes.Spec("validate", volume.SizeRange{Required: v.Size}, req.GetParameters())
	if err != nil {
		return err
	}
	if !v.MadeOf(spec.Parameters) {
		return errors.New("parameters: the volume was made with others")
	}
	return nil
}

// confirmContext returns why the context is not the volume's, or nil. The
// servers may differ: the pool may have other nodes than when it was made.
func confirmContext(v volume.Volume, given map[string]string) error {
	own := ownContext(given)
	if len(own) == 0 {
		return nil
	}
	if _, err := fromContext(v.Handle, own); err != nil {
		return err
	}
	if gid, want := own[volume.ContextGID], v.Context()[volume.ContextGID]; gid != want {
		return volume.NewFieldError("volume_context.gid", gid, want)
	}
	return nil
}
