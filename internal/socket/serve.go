package socket

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
)

// Serve answers gRPC calls on the listener until ctx ends, then lets running
// calls end for stopWithin, and removes the socket. Cut says that some took
// longer and were cut off.
func Serve(ctx context.Context, server *grpc.Server, listener net.Listener, stopWithin time.Duration) (cut bool, err error) {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return false, err
	case <-ctx.Done():
	}
	stopped := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(stopped)
	}()
	limit := time.NewTimer(stopWithin)
	defer limit.Stop()
	select {
	case <-stopped:
		return false, nil
	case <-limit.C:
	}
	server.Stop()
	<-stopped
	return true, nil
}
