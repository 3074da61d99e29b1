// Package socket owns how Bricklayer listens on unix sockets: what an endpoint
// may look like, who may connect, and what becomes of a socket that a killed
// process left behind.
//
// It refuses to know what is served.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"bricklayer.csi/internal/volume"
)

// maxPath is what the kernel's sockaddr_un holds, less the final zero.
const maxPath = 107

// Path returns the path of an endpoint, unix:///ABSOLUTE/PATH.
func Path(field, endpoint string) (string, error) {
	path, ok := strings.CutPrefix(endpoint, "unix://")
	if !ok || !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || len(path) > maxPath {
		return "", volume.NewFieldError(field, endpoint,
			fmt.Sprintf("unix:// and a clean absolute path of at most %d bytes, such as unix:///var/lib/kubelet/plugins/bricklayer.csi/csi.sock", maxPath))
	}
	return path, nil
}

// Listen opens a socket for its owner alone, from the first moment on. What
// lies at path is removed only where it is a socket that nobody serves.
func Listen(ctx context.Context, path string) (net.Listener, error) {
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
