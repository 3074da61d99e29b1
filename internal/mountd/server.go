package mountd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mountd/mountpb"
	"bricklayer.csi/internal/socket"
	"bricklayer.csi/internal/telemetry"
	"bricklayer.csi/internal/trace"
	"bricklayer.csi/internal/volume"
)

// Options say what is served, and where.
type Options struct {
	// Endpoint is unix:///ABSOLUTE/PATH.
	Endpoint string
	// Dirs are the directories below which volumes may be mounted: kubelet's.
	Dirs   []string
	Mounts mount.Mounter
	Log    *slog.Logger
	// Calls counts and times the calls; nil for nobody.
	Calls *telemetry.Calls
	// StopWithin is how long running calls may take to end once the server is to stop.
	StopWithin time.Duration
}

// DefaultStopWithin is below the 30 seconds that Kubernetes gives a pod to end.
const DefaultStopWithin = 25 * time.Second

// Server serves a mounter on one unix socket. Make it with NewServer.
type Server struct {
	opts     Options
	path     string
	guard    guard
	grpc     *grpc.Server
	listener net.Listener
}

// NewServer opens the socket; Serve answers on it.
func NewServer(ctx context.Context, o Options) (*Server, error) {
	path, err := socket.Path("endpoint", o.Endpoint)
	if err != nil {
		return nil, err
	}
	if o.Mounts == nil {
		return nil, errors.New("serve mounts: a mounter is needed")
	}
	g, err := newGuard(o.Dirs)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.StopWithin <= 0 {
		o.StopWithin = DefaultStopWithin
	}
	listener, err := socket.Listen(ctx, path)
	if err != nil {
		return nil, &volume.Error{Kind: volume.Precondition, Op: "serve mounts on " + path, Err: err}
	}
	s := &Server{opts: o, path: path, guard: g, listener: listener}
	s.grpc = grpc.NewServer(trace.Server(), grpc.ChainUnaryInterceptor(o.Calls.Intercept, s.logCalls, withStatus, s.withoutPanics))
	mountpb.RegisterMounterServer(s.grpc, &verbs{guard: g, mounts: o.Mounts})
	o.Calls.Expect(s.grpc)
	return s, nil
}

// Serve answers until ctx ends, then lets running calls end, and removes the
// socket. The clients that were started are left running.
func (s *Server) Serve(ctx context.Context) error {
	s.opts.Log.InfoContext(ctx, "serving mounts", "socket", s.path, "below", s.guard.dirs)
	cut, err := socket.Serve(ctx, s.grpc, s.listener, s.opts.StopWithin)
	if err != nil {
		return &volume.Error{Kind: volume.Unavailable, Op: "serve mounts on " + s.path, Err: err}
	}
	if cut {
		s.opts.Log.WarnContext(ctx, "ended calls that took too long", "limit", s.opts.StopWithin)
	}
	return nil
}

// logCalls logs each call that changes a mount, and each that fails.
func (s *Server) logCalls(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	began := time.Now()
	resp, err := next(ctx, req)
	level := slog.LevelDebug
	attrs := []slog.Attr{slog.String("method", methodName(info)), slog.Duration("took", time.Since(began))}
	if id := metadata.ValueFromIncomingContext(ctx, "x-request-id"); len(id) == 1 {
		attrs = append(attrs, slog.String("request_id", fmt.Sprintf("%.64s", id[0])))
	}
	if r, ok := req.(interface{ GetVolume() string }); ok {
		attrs = append(attrs, slog.String("volume", r.GetVolume()))
	}
	if r, ok := req.(interface{ GetTarget() string }); ok {
		attrs = append(attrs, slog.String("target", r.GetTarget()))
	}
	switch req.(type) {
	case *mountpb.GlusterfsRequest, *mountpb.BindRequest, *mountpb.UnmountRequest:
		level = slog.LevelInfo
	}
	if err != nil {
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("error", status.Convert(err).Message()))
	}
	s.opts.Log.LogAttrs(ctx, level, "call ended", attrs...)
	return resp, err
}

func methodName(info *grpc.UnaryServerInfo) string {
	return info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]
}

// withStatus gives every error its form on the wire.
func withStatus(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	if err != nil {
		return nil, toStatus(err)
	}
	return resp, nil
}

// withoutPanics makes a panic an internal error of this one call: where this is
// process 1 of a container, every mounted volume would end with it.
func (s *Server) withoutPanics(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.opts.Log.ErrorContext(ctx, "panic", "method", methodName(info), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			resp, err = nil, &volume.Error{
				Kind: volume.Internal, Op: methodName(info), Err: errors.New("a fault in the mount service"), Next: "report it with the mount service's log",
			}
		}
	}()
	return next(ctx, req)
}
