package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"bricklayer.csi/internal/socket"
	"bricklayer.csi/internal/telemetry"
	"bricklayer.csi/internal/trace"
)

// ServerOptions say what is served, and where.
type ServerOptions struct {
	// Endpoint is unix:///ABSOLUTE/PATH.
	Endpoint string
	// Identity is always served; Controller and Node where they are set.
	Identity   *Identity
	Controller *Controller
	Node       *Node
	Log        *slog.Logger
	// Calls counts and times the calls; nil for nobody.
	Calls *telemetry.Calls
	// StopWithin is how long running calls may take to end once the server is to stop.
	StopWithin time.Duration
}

// DefaultStopWithin is below the 30 seconds that Kubernetes gives a pod to end.
const DefaultStopWithin = 25 * time.Second

// Server serves CSI on one unix socket. Make it with NewServer.
type Server struct {
	opts     ServerOptions
	path     string
	grpc     *grpc.Server
	listener net.Listener
}

// NewServer opens the socket; Serve answers on it.
func NewServer(ctx context.Context, o ServerOptions) (*Server, error) {
	path, err := socket.Path("endpoint", o.Endpoint)
	if err != nil {
		return nil, err
	}
	if o.Identity == nil || o.Controller == nil && o.Node == nil {
		return nil, errors.New("serve CSI: an identity and a controller or node service are needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.StopWithin <= 0 {
		o.StopWithin = DefaultStopWithin
	}
	listener, err := socket.Listen(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("serve CSI on %s: %w", path, err)
	}
	s := &Server{opts: o, path: path, listener: listener, grpc: grpc.NewServer(trace.Server(), grpc.ChainUnaryInterceptor(o.Calls.Intercept), interceptors(o.Log))}
	csipb.RegisterIdentityServer(s.grpc, o.Identity)
	if o.Controller != nil {
		csipb.RegisterControllerServer(s.grpc, o.Controller)
	}
	if o.Node != nil {
		csipb.RegisterNodeServer(s.grpc, o.Node)
	}
	o.Calls.Expect(s.grpc)
	return s, nil
}

// Serve answers until ctx ends, then lets running calls end, and removes the socket.
func (s *Server) Serve(ctx context.Context) error {
	s.opts.Log.InfoContext(ctx, "serving CSI", "socket", s.path)
	cut, err := socket.Serve(ctx, s.grpc, s.listener, s.opts.StopWithin)
	if err != nil {
		return fmt.Errorf("serve CSI on %s: %w", s.path, err)
	}
	if cut {
		s.opts.Log.WarnContext(ctx, "ended calls that took too long", "limit", s.opts.StopWithin)
	}
	return nil
}
