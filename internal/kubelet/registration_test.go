package kubelet_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"bricklayer.csi/internal/kubelet"
	"bricklayer.csi/internal/volume"
)

const driver = "bricklayer.csi"

// asKubelet calls the registration socket in dir, as kubelet does.
func asKubelet(t *testing.T, dir string) registerapi.RegistrationClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///reg", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(dir, driver+"-reg.sock"))
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return registerapi.NewRegistrationClient(conn)
}

func options(dir string) kubelet.Options {
	return kubelet.Options{Dir: dir, Driver: driver, Endpoint: "unix:///var/lib/kubelet/plugins/bricklayer.csi/csi.sock"}
}

// serve registers the driver in dir; the channel has what Serve returns.
func serve(ctx context.Context, t *testing.T, dir string) <-chan error {
	t.Helper()
	r, err := kubelet.NewRegistration(ctx, options(dir))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx) }()
	return served
}

func TestKubeletRegistersTheDriver(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	served := serve(ctx, t, dir)
	for range 2 { // a kubelet that restarts asks again
		api := asKubelet(t, dir)
		info, err := api.GetInfo(t.Context(), &registerapi.InfoRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if info.GetType() != registerapi.CSIPlugin || info.GetName() != driver || info.GetEndpoint() != "/var/lib/kubelet/plugins/bricklayer.csi/csi.sock" ||
			len(info.GetSupportedVersions()) != 1 || info.GetSupportedVersions()[0] != "1.0.0" {
			t.Errorf("got %v", info)
		}
		if _, err := api.NotifyRegistrationStatus(t.Context(), &registerapi.RegistrationStatus{PluginRegistered: true}); err != nil {
			t.Error(err)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, driver+"-reg.sock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestARefusalEndsTheService(t *testing.T) {
	dir := t.TempDir()
	served := serve(t.Context(), t, dir)
	status := &registerapi.RegistrationStatus{Error: "node is in a bad mood\nlevel=forged"}
	if _, err := asKubelet(t, dir).NotifyRegistrationStatus(t.Context(), status); err != nil {
		t.Errorf("kubelet has no answer: %v", err)
	}
	select {
	case err := <-served:
		if !volume.Is(err, volume.Unavailable) || !strings.Contains(err.Error(), `bad mood\nlevel`) {
			t.Errorf("got %v; want what kubelet said, quoted", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it still serves")
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	dir := t.TempDir()
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, driver+"-reg.sock")})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	serve(t.Context(), t, dir)
	if _, err := asKubelet(t, dir).GetInfo(t.Context(), &registerapi.InfoRequest{}); err != nil {
		t.Error(err)
	}
}

func TestBadOptions(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*kubelet.Options){
		"relative directory": func(o *kubelet.Options) { o.Dir = "plugins_registry" },
		"missing directory":  func(o *kubelet.Options) { o.Dir = filepath.Join(dir, "none") },
		"a file":             func(o *kubelet.Options) { o.Dir = file },
		"long directory":     func(o *kubelet.Options) { o.Dir = "/" + strings.Repeat("d", 100) },
		"no endpoint":        func(o *kubelet.Options) { o.Endpoint = "" },
	} {
		o := options(dir)
		change(&o)
		if _, err := kubelet.NewRegistration(t.Context(), o); err == nil {
			t.Errorf("%s is accepted", name)
		} else {
			t.Log(err)
		}
	}
}
