package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"bricklayer.csi/agent/agentpb"
	"bricklayer.csi/internal/telemetry"
	"bricklayer.csi/internal/trace"
	"bricklayer.csi/internal/volume"
)

// Bounds of the service.
const (
	// maxCalls is how many calls are served at once; more are told Busy.
	maxCalls = 64
	// maxRequest and maxResponse bound a message. A list of thousands of
	// volumes with their options is a few megabytes.
	maxRequest  = 1 << 20
	maxResponse = 64 << 20
	// maxConnectionAge makes every connection begin anew, so that a certificate
	// that has ended or was replaced is not used for longer than this.
	maxConnectionAge   = time.Hour
	connectionGrace    = 10 * time.Minute
	handshakeTimeout   = 10 * time.Second
	keepaliveTime      = 10 * time.Second
	keepaliveTimeout   = 5 * time.Second
	minClientKeepalive = 5 * time.Second
	// stopTimeout is how long calls may go on once the agent is to stop.
	stopTimeout = 20 * time.Second
)

// ServerOptions put a Server together.
type ServerOptions struct {
	// Node carries the calls out.
	Node Node
	// Name and Pool are the node's own.
	Name, Pool string
	TLS        TLSFiles
	Log        *slog.Logger
	// Calls counts and times the calls; nil for nobody.
	Calls *telemetry.Calls
}

// Server is the gRPC server of one storage node.
type Server struct {
	o      ServerOptions
	keeper *keeper
	log    *slog.Logger
	calls  chan struct{}
	health *health.Server
	grpc   *grpc.Server
}

// NewServer returns a server that is not serving yet. It fails where the
// certificate's files do not read.
func NewServer(o ServerOptions) (*Server, error) {
	return newServer(o, newKeeper(o.TLS))
}

func newServer(o ServerOptions, k *keeper) (*Server, error) {
	if err := o.TLS.Validate(); err != nil {
		return nil, err
	}
	if _, err := k.current(); err != nil {
		return nil, At(o.Name, "start agent", "", err)
	}
	s := &Server{o: o, keeper: k, log: o.Log, calls: make(chan struct{}, maxCalls), health: health.NewServer()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(serverCreds{TransportCredentials: credentials.NewTLS(s.keeper.serverTLS()), log: s.log}),
		trace.Server(),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxSendMsgSize(maxResponse),
		grpc.MaxConcurrentStreams(2*maxCalls), // those above maxCalls are told Busy rather than kept waiting
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minClientKeepalive, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge: maxConnectionAge, MaxConnectionAgeGrace: connectionGrace,
			Time: keepaliveTime, Timeout: keepaliveTimeout,
		}),
		grpc.ChainUnaryInterceptor(o.Calls.Intercept, s.observe, s.recover, s.authorise, s.matchProtocol, s.limit),
		grpc.ChainStreamInterceptor(s.stream), // health's Watch
	)
	agentpb.RegisterAgentServer(s.grpc, service{node: o.Node})
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	o.Calls.Expect(s.grpc)
	return s, nil
}

// Serve answers calls on the listener until ctx ends; then it takes no new
// ones and gives those that run some time to end.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(l) }()
	select {
	case err := <-served:
		return &volume.Error{Kind: volume.Unavailable, Op: "serve", On: "node " + s.o.Name, Err: err}
	case <-ctx.Done():
	}
	s.health.Shutdown()
	stopped := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(stopped)
	}()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-stopped:
	case <-timer.C:
		s.log.WarnContext(ctx, "calls were still running when the agent stopped", "node", s.o.Name, "waited", stopTimeout)
		s.grpc.Stop()
		<-stopped
	}
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// serverCreds log why a connection was refused: the other side is told but a
// word, and gRPC tells nobody.
type serverCreds struct {
	credentials.TransportCredentials
	log *slog.Logger
}

// ServerHandshake implements credentials.TransportCredentials.
func (c serverCreds) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		c.log.Warn("a connection was refused", "from", raw.RemoteAddr().String(), "error", err)
	}
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (c serverCreds) Clone() credentials.TransportCredentials {
	return serverCreds{TransportCredentials: c.TransportCredentials.Clone(), log: c.log}
}
