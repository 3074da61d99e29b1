package socket_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bricklayer.csi/internal/socket"
	"bricklayer.csi/internal/volume"
)

func TestEndpoints(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"unix:///run/csi.sock": true, "": false, "/run/csi.sock": false, "unix://run/csi.sock": false, "tcp://1.2.3.4:5": false,
		"unix:///": false, "unix:///run/../csi.sock": false, "unix:///" + strings.Repeat("a", 107): false,
	} {
		if _, err := socket.Path("endpoint", endpoint); (err == nil) != want || err != nil && !volume.Is(err, volume.Invalid) {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "s.sock")
	for range 2 { // the second time over what the first one left
		l, err := socket.Listen(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("got %v, %v; want a socket of mode 0600", info, err)
		}
		if _, err := socket.Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "served by another process") {
			t.Errorf("while it is served: %v", err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := socket.Listen(t.Context(), file); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("over a file: %v", err)
	}
}
