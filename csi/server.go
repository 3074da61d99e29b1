package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"bricklayer.csi/internal/volume"
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
	path, err := socketPath(o.Endpoint)
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
	listener, err := listen(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("serve CSI on %s: %w", path, err)
	}
	s := &Server{opts: o, path: path, listener: listener, grpc: grpc.NewServer(interceptors(o.Log))}
	csipb.RegisterIdentityServer(s.grpc, o.Identity)
	if o.Controller != nil {
		csipb.RegisterControllerServer(s.grpc, o.Controller)
	}
	if o.Node != nil {
		csipb.RegisterNodeServer(s.grpc, o.Node)
	}
	return s, nil
}

// Serve answers until ctx ends, then lets running calls end, and removes the socket.
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.grpc.Serve(s.listener) }()
	s.opts.Log.InfoContext(ctx, "serving CSI", "socket", s.path)
	select {
	case err := <-failed:
		return fmt.Errorf("serve CSI on %s: %w", s.path, err)
	case <-ctx.Done():
	}
	stopped := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(stopped)
	}()
	limit := time.NewTimer(s.opts.StopWithin)
	defer limit.Stop()
	select {
	case <-stopped:
	case <-limit.C:
		s.opts.Log.WarnContext(ctx, "ending calls that take too long", "limit", s.opts.StopWithin)
		s.grpc.Stop()
		<-stopped
	}
	return nil
}

// maxSocketPath is what the kernel's sockaddr_un holds, less the final zero.
const maxSocketPath = 107

func socketPath(endpoint string) (string, error) {
	path, ok := strings.CutPrefix(endpoint, "unix://")
	if !ok || !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || len(path) > maxSocketPath {
		return "", volume.NewFieldError("endpoint", endpoint,
			fmt.Sprintf("unix:// and a clean absolute path of at most %d bytes, such as unix:///var/lib/kubelet/plugins/bricklayer.csi/csi.sock", maxSocketPath))
	}
	return path, nil
}

// listen opens the socket for its owner alone, from the first moment on. What
// lies at path is removed only where it is a socket that nobody serves.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var modeErr error
		// On Linux the mode of an unbound socket becomes that of its file.
		err := conn.Control(func(fd uintptr) { modeErr = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, modeErr)
	}}
	return config.Listen(ctx, "unix", path)
}

func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is no socket: remove it, or choose another endpoint", path)
	}
	var d net.Dialer
	if conn, err := d.DialContext(ctx, "unix", path); err == nil {
		return errors.Join(fmt.Errorf("%s is served by another process: stop it first", path), conn.Close())
	}
	return os.Remove(path)
}
