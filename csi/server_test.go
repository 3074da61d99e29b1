package csi

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"bricklayer.csi/internal/volume"
)

// plugin returns options of a server whose volumes are v.
func plugin(t *testing.T, path string, v Volumes) ServerOptions {
	t.Helper()
	identity, err := NewIdentity(IdentityOptions{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	return ServerOptions{Endpoint: "unix://" + path, Identity: identity, Controller: NewController(v, log), StopWithin: time.Second}
}

func TestSocketIsForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "csi.sock")
	serve(t, plugin(t, path, nil))
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("got %v, %v; want a socket of mode 0600", info, err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "csi.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	conn := serve(t, plugin(t, path, nil))
	if _, err := csipb.NewIdentityClient(conn).GetPluginInfo(testContext(t), &csipb.GetPluginInfoRequest{}); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotOursStays(t *testing.T) {
	dir := t.TempDir()
	served, file := filepath.Join(dir, "served.sock"), filepath.Join(dir, "file")
	serve(t, plugin(t, served, nil))
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{served: "served by another process", file: "is no socket"} {
		if _, err := NewServer(t.Context(), plugin(t, path, nil)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v; want %q", path, err, says)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

// panicky is a use case with a fault.
type panicky struct{ Volumes }

func (panicky) List(context.Context) ([]volume.Volume, error) { panic("a fault") }

func TestAPanicEndsOneCallOnly(t *testing.T) {
	c := csipb.NewControllerClient(serve(t, plugin(t, filepath.Join(t.TempDir(), "csi.sock"), panicky{})))
	for range 2 {
		_, err := c.ListVolumes(testContext(t), &csipb.ListVolumesRequest{})
		if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "goroutine") {
			t.Errorf("got %v; want Unavailable without a stack", err)
		}
	}
}

// slow lists no volumes once it is told to, or its context ends.
type slow struct {
	Volumes
	began, end chan struct{}
}

func (s slow) List(ctx context.Context) ([]volume.Volume, error) {
	close(s.began)
	select {
	case <-s.end:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestRunningCallsEndBeforeTheServer(t *testing.T) {
	for _, inTime := range []bool{true, false} {
		s := slow{began: make(chan struct{}), end: make(chan struct{})}
		path := filepath.Join(t.TempDir(), "csi.sock")
		server, err := NewServer(t.Context(), plugin(t, path, s))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		served, called := make(chan error, 1), make(chan error, 1)
		go func() { served <- server.Serve(ctx) }()
		client := csipb.NewControllerClient(dialSocket(t, path))
		go func() {
			_, err := client.ListVolumes(testContext(t), &csipb.ListVolumesRequest{})
			called <- err
		}()
		<-s.began
		stop()
		if inTime {
			close(s.end)
		}
		if err := <-called; (err == nil) != inTime {
			t.Errorf("in time %v: the call ended with %v", inTime, err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	}
}

func TestIdentity(t *testing.T) {
	for name, want := range map[string]bool{"": true, "bricklayer.csi": true, "b2.example.org": true, "-x": false, "x-": false, "X": false, "a b": false, strings.Repeat("a", 64): false} {
		if _, err := NewIdentity(IdentityOptions{Name: name}); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	d := newDriver(t)
	for _, fault := range []error{nil, errors.New("no client")} {
		d.mounts.SetReady(fault)
		resp, err := d.identity.Probe(testContext(t), &csipb.ProbeRequest{})
		if err != nil || resp.GetReady().GetValue() != (fault == nil) {
			t.Errorf("with %v: got %v, %v", fault, resp, err)
		}
	}
	if !strings.Contains(d.log.String(), "no client") {
		t.Error("the log does not say why it is not ready")
	}
}
