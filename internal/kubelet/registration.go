// Package kubelet owns what kubelet must be told so that it uses the node
// service: where its socket is and which driver it serves. It takes the place of
// the sidecar node-driver-registrar.
//
// It refuses to know CSI and volumes, and it never calls kubelet: kubelet finds
// the registration socket in a directory that it watches, and calls.
package kubelet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"bricklayer.csi/internal/socket"
	"bricklayer.csi/internal/volume"
)

// Options say what is registered, and where.
type Options struct {
	// Dir is the directory that kubelet watches: plugins_registry below its own.
	Dir string
	// Driver is the driver's name. It names the registration socket too, so that
	// two installations can live side by side.
	Driver string
	// Endpoint is unix:///PATH of the CSI socket, as kubelet reaches it: a
	// container must see the socket's directory at the same path as the host.
	Endpoint string
	Log      *slog.Logger
}

// csiVersions is what kubelet calls the versions of CSI that a driver speaks.
// It tells major versions apart, and no more.
var csiVersions = []string{"1.0.0"}

// stopWithin bounds the end of calls that take no time.
const stopWithin = 5 * time.Second

// Registration tells kubelet of one driver. Make it with NewRegistration.
type Registration struct {
	opts     Options
	socket   string // where kubelet asks
	endpoint string // the path of the CSI socket
	listener net.Listener
}

// NewRegistration opens the registration socket, which is when kubelet takes
// notice: the CSI socket must be open by then. Serve answers on it.
func NewRegistration(ctx context.Context, o Options) (*Registration, error) {
	if !filepath.IsAbs(o.Dir) || filepath.Clean(o.Dir) != o.Dir {
		return nil, volume.NewFieldError("kubelet registration directory", o.Dir, "a clean absolute path, such as /var/lib/kubelet/plugins_registry")
	}
	endpoint, err := socket.Path("endpoint", o.Endpoint)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(o.Dir, o.Driver+"-reg.sock")
	if _, err := socket.Path("kubelet registration directory", "unix://"+path); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	// To make the directory would hide that it is not kubelet's.
	if info, err := os.Stat(o.Dir); err != nil || !info.IsDir() {
		return nil, failed("find kubelet's registration directory "+o.Dir, cmp.Or(err, errNoDirectory),
			"see whether kubelet has another root directory, and whether this container sees it")
	}
	listener, err := socket.Listen(ctx, path)
	if err != nil {
		return nil, failed("listen for kubelet on "+path, err, "")
	}
	return &Registration{opts: o, socket: path, endpoint: endpoint, listener: listener}, nil
}

var errNoDirectory = errors.New("it is no directory")

func failed(op string, err error, next string) error {
	return &volume.Error{Kind: volume.Precondition, Op: op, Err: err, Next: next}
}

// Serve answers until ctx ends, and removes the socket, by which kubelet learns
// that the driver is gone. It ends with an error when kubelet refuses the
// driver: kubelet asks again once the socket is made anew, so the process
// should be started again. A kubelet that restarts finds the socket by itself.
func (r *Registration) Serve(ctx context.Context) error {
	serving, end := context.WithCancelCause(ctx)
	defer end(nil)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
	registerapi.RegisterRegistrationServer(server, &answers{Registration: r, refused: end})
	r.opts.Log.InfoContext(ctx, "waiting for kubelet", "socket", r.socket, "driver", r.opts.Driver)
	if _, err := socket.Serve(serving, server, r.listener, stopWithin); err != nil {
		return failed("serve kubelet on "+r.socket, err, "")
	}
	if refusal, refused := errors.AsType[*volume.Error](context.Cause(serving)); refused {
		return refusal
	}
	return nil
}

// maxMessage is more than kubelet has to say.
const maxMessage = 64 << 10

// answers are the registration's answers to kubelet.
type answers struct {
	registerapi.UnimplementedRegistrationServer
	*Registration
	refused func(error)
}

// GetInfo says what is registered.
func (a *answers) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{Type: registerapi.CSIPlugin, Name: a.opts.Driver, Endpoint: a.endpoint, SupportedVersions: csiVersions}, nil
}

// NotifyRegistrationStatus takes kubelet's verdict.
func (a *answers) NotifyRegistrationStatus(ctx context.Context, s *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	if s.GetPluginRegistered() {
		a.opts.Log.InfoContext(ctx, "kubelet has registered the driver", "driver", a.opts.Driver, "endpoint", a.endpoint)
	} else {
		a.refused(&volume.Error{
			Kind: volume.Unavailable, Op: "register driver " + a.opts.Driver + " with kubelet", On: a.socket,
			Err: fmt.Errorf("kubelet refused it: %.500q", s.GetError()), Next: "see kubelet's log; the driver registers again when it is started again",
		})
	}
	return &registerapi.RegistrationStatusResponse{}, nil
}
