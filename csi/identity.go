package csi

import (
	"context"
	"log/slog"
	"regexp"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"bricklayer.csi/internal/volume"
)

// DefaultDriverName is the driver's name where the administrator gives none.
const DefaultDriverName = "bricklayer.csi"

// IdentityOptions say who the plugin is.
type IdentityOptions struct {
	// Name is the driver's name; empty means DefaultDriverName.
	Name string
	// Version is that of the program.
	Version string
	// Ready returns nil where calls can succeed now: for a controller, that an
	// agent of each pool answers; for a node, that it can mount. It must be cheap.
	Ready func(ctx context.Context) error
	Log   *slog.Logger
}

// driverName is what the spec allows, and what Kubernetes allows as a CSIDriver's name.
var driverName = regexp.MustCompile(`^[a-z]([a-z0-9.-]{0,61}[a-z0-9])$`)

// Identity is the CSI identity service. Make it with NewIdentity.
type Identity struct {
	csipb.UnimplementedIdentityServer
	opts IdentityOptions
}

// NewIdentity checks the options.
func NewIdentity(o IdentityOptions) (*Identity, error) {
	if o.Name == "" {
		o.Name = DefaultDriverName
	}
	if !driverName.MatchString(o.Name) {
		return nil, volume.NewFieldError("driver name", o.Name, "2 to 63 of a-z, 0-9, - and ., beginning with a letter and ending with a letter or digit")
	}
	if o.Version == "" {
		o.Version = "unknown"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Identity{opts: o}, nil
}

// GetPluginInfo says who the plugin is.
func (s *Identity) GetPluginInfo(context.Context, *csipb.GetPluginInfoRequest) (*csipb.GetPluginInfoResponse, error) {
	return &csipb.GetPluginInfoResponse{Name: s.opts.Name, VendorVersion: s.opts.Version}, nil
}

// GetPluginCapabilities says what the plugin as a whole does; controller and
// node answer alike, because each speaks for the plugin. Volumes are reached
// from every node, so there is no topology.
func (s *Identity) GetPluginCapabilities(context.Context, *csipb.GetPluginCapabilitiesRequest) (*csipb.GetPluginCapabilitiesResponse, error) {
	return &csipb.GetPluginCapabilitiesResponse{Capabilities: []*csipb.PluginCapability{
		{Type: &csipb.PluginCapability_Service_{Service: &csipb.PluginCapability_Service{
			Type: csipb.PluginCapability_Service_CONTROLLER_SERVICE,
		}}},
		{Type: &csipb.PluginCapability_VolumeExpansion_{VolumeExpansion: &csipb.PluginCapability_VolumeExpansion{
			Type: csipb.PluginCapability_VolumeExpansion_ONLINE,
		}}},
	}}, nil
}

// probeWithin bounds a probe: an answer that comes late is a "no" as well.
const probeWithin = 5 * time.Second

// Probe says whether calls can succeed now. "Not ready" is an answer and no
// error: an error asks the orchestrator to restart the plugin, which mends no
// storage node.
func (s *Identity) Probe(ctx context.Context, _ *csipb.ProbeRequest) (*csipb.ProbeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	ready := true
	if s.opts.Ready != nil {
		if err := s.opts.Ready(ctx); err != nil {
			s.opts.Log.WarnContext(ctx, "not ready", "reason", err)
			ready = false
		}
	}
	return &csipb.ProbeResponse{Ready: wrapperspb.Bool(ready)}, nil
}
