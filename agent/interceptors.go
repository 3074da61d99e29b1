package agent

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"log/slog"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"bricklayer.csi/agent/agentpb"
	"bricklayer.csi/agent/certs"
	"bricklayer.csi/internal/trace"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/internal/wire"
)

// What travels beside a request.
const (
	headerRequestID = "x-request-id"
	headerProtocol  = "x-bricklayer-protocol"
	maxRequestID    = 128
)

const (
	agentService  = "/bricklayer.agent.v1.Agent/"
	healthService = "/grpc.health.v1.Health/"
)

type requestIDKey struct{}

// WithRequestID gives the calls made with ctx an ID, under which both sides log them.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID returns the ID that WithRequestID gave, or nothing.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// header returns the first value of a request's header, or nothing.
func header(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// requestIDOf returns the caller's ID if it can stand in a log, else a new one.
func requestIDOf(ctx context.Context) string {
	if id := header(ctx, headerRequestID); isArgument(id, maxRequestID) {
		return id
	}
	return rand.Text()
}

// observe logs each call with its outcome, and turns its error into what
// travels. What is in a request it does not log, except what it is about.
func (s *Server) observe(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	id, begun := requestIDOf(ctx), time.Now()
	trace.Request(ctx, id)
	resp, err := next(WithRequestID(ctx, id), req)
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("verb", path.Base(info.FullMethod)), slog.String("request_id", id), slog.String("from", remote(ctx)),
		slog.Duration("took", time.Since(begun)),
	}
	if what, about := subject(req); about != "" {
		attrs = append(attrs, slog.String(what, about))
	}
	switch {
	case err != nil:
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("outcome", kindOf(err).String()), slog.String("error", wire.Clip(err.Error())))
	case strings.HasPrefix(info.FullMethod, healthService) || isQuery(info.FullMethod):
		level = slog.LevelDebug
		fallthrough
	default:
		attrs = append(attrs, slog.String("outcome", "ok"))
	}
	s.log.LogAttrs(ctx, level, "call", attrs...)
	return resp, toStatus(err)
}

// isQuery reports whether a call changes nothing; those come often.
func isQuery(method string) bool {
	switch method {
	case agentpb.Agent_Describe_FullMethodName, agentpb.Agent_Bricks_FullMethodName, agentpb.Agent_Volume_FullMethodName,
		agentpb.Agent_Volumes_FullMethodName, agentpb.Agent_VolumeStatus_FullMethodName, agentpb.Agent_HealInfo_FullMethodName,
		agentpb.Agent_Peers_FullMethodName:
		return true
	}
	return false
}

// subject returns what a request is about, a volume, a host or a root, quoted where it is
// no name.
func subject(req any) (what, name string) {
	what = "volume"
	switch r := req.(type) {
	case interface{ GetHost() string }:
		if what, name = "host", r.GetHost(); isHost(name) {
			return what, name
		}
	case interface{ GetRoot() string }:
		if what, name = "root", r.GetRoot(); isLabel(name) {
			return what, name
		}
	case interface{ GetRef() *agentpb.BrickRef }:
		name = r.GetRef().GetVolume()
	case interface{ GetName() string }:
		name = r.GetName()
	case interface{ GetVolume() string }:
		name = r.GetVolume()
	}
	if name == "" || what == "volume" && volume.CheckName(name) == nil {
		return what, name
	}
	return what, strconv.Quote(wire.Clip(name))
}

func remote(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

// recover turns a panic into an error: one bad call must not end the agent
// under all others.
func (s *Server) recover(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(ctx, "panic", "verb", path.Base(info.FullMethod), "request_id", RequestID(ctx), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			resp, err = nil, At(s.o.Name, "serve "+path.Base(info.FullMethod), "", &volume.Error{
				Kind: volume.Internal, Err: fmt.Errorf("the agent panicked: %v", p), Next: "its log has the stack; report it",
			})
		}
	}()
	return next(ctx, req)
}

// authorise lets in the controllers of this pool only. TLS has seen to it that
// the certificate comes from the pool's CA.
func (s *Server) authorise(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := s.checkCaller(ctx); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) checkCaller(ctx context.Context) error {
	denied := func(err error, next string) error {
		return &volume.Error{Kind: volume.Denied, Op: "let the caller in", On: "node " + s.o.Name, Err: err, Next: next}
	}
	want := certs.ControllerName(s.o.Pool)
	p, ok := peer.FromContext(ctx)
	if !ok {
		return denied(fmt.Errorf("the connection has no certificate"), "")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return denied(fmt.Errorf("the connection has no certificate"), "")
	}
	leaf := info.State.PeerCertificates[0]
	if leaf.VerifyHostname(want) != nil {
		return denied(fmt.Errorf("the caller's certificate is for %s, this agent takes calls from %s only", names(leaf), want),
			"use the certificate of this pool's controllers")
	}
	// A connection outlives the handshake that judged the certificate.
	if s.keeper.now().After(leaf.NotAfter) {
		return denied(fmt.Errorf("the caller's certificate ended at %s", leaf.NotAfter.UTC().Format(time.RFC3339)), "renew it with bricklayer certs")
	}
	return nil
}

func names(c *x509.Certificate) string {
	if len(c.DNSNames) == 0 {
		return strconv.Quote(wire.Clip(c.Subject.CommonName))
	}
	return strconv.Quote(wire.Clip(strings.Join(c.DNSNames, ", ")))
}

// matchProtocol refuses a controller of another protocol version before
// anything is made of its request.
func (s *Server) matchProtocol(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !strings.HasPrefix(info.FullMethod, agentService) {
		return next(ctx, req)
	}
	if theirs := header(ctx, headerProtocol); theirs != strconv.Itoa(Protocol) {
		return nil, &protocolError{node: s.o.Name, caller: theirs}
	}
	return next(ctx, req)
}

// protocolError is what an agent says to a controller of another version. It
// carries the agent's version, from which the controller words its own error.
type protocolError struct{ node, caller string }

func (e *protocolError) Error() string {
	return fmt.Sprintf("call agent on node %s: its agent speaks protocol version %d, the caller version %s", e.node, Protocol, strconv.Quote(wire.Clip(e.caller)))
}

// ErrorKind implements the kind; see volume.KindOf.
func (e *protocolError) ErrorKind() volume.Kind { return volume.Precondition }

// limit bounds how many calls are served at once. Who has to wait for glusterd
// waits in Local; here is only the bound that keeps a storm from taking memory.
func (s *Server) limit(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if strings.HasPrefix(info.FullMethod, healthService) {
		return next(ctx, req)
	}
	select {
	case s.calls <- struct{}{}:
		defer func() { <-s.calls }()
		return next(ctx, req)
	default:
		return nil, &volume.Error{
			Kind: volume.Busy, Op: "serve " + path.Base(info.FullMethod), On: "node " + s.o.Name,
			Err:  fmt.Errorf("%d calls are being served already", maxCalls),
			Next: "nothing was changed; repeat the call later",
		}
	}
}

// stream serves the only streaming method there is, health's Watch.
func (s *Server) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := s.checkCaller(stream.Context()); err != nil {
		return toStatus(err)
	}
	return next(srv, stream)
}
