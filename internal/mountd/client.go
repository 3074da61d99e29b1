package mountd

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/mountd/mountpb"
	"bricklayer.csi/internal/socket"
	"bricklayer.csi/internal/trace"
	"bricklayer.csi/internal/volume"
)

// Client asks the mount service. It is a mount.Mounter whose mounts outlive
// this process. Make it with Dial.
type Client struct {
	path string
	conn *grpc.ClientConn
	api  mountpb.MounterClient
}

var _ mount.Mounter = (*Client)(nil)

const (
	// reconnectWithin bounds how long a service that was restarted is not found.
	reconnectWithin = time.Second
	// maxTable is more than a mount table of ten thousand lines takes.
	maxTable = 16 << 20
)

// Dial returns a client of the service at unix:///PATH. The service need not
// run yet: until it does, calls fail as Unavailable, at once.
func Dial(endpoint string) (*Client, error) {
	path, err := socket.Path("mount service", endpoint)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///mountd",
		grpc.WithTransportCredentials(insecure.NewCredentials()), trace.Client(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxTable)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectWithin},
			MinConnectTimeout: reconnectWithin,
		}),
	)
	if err != nil {
		return nil, &volume.Error{Kind: volume.Invalid, Op: "reach the mount service on " + path, Err: err}
	}
	return &Client{path: path, conn: conn, api: mountpb.NewMounterClient(conn)}, nil
}

// Close ends the connection; mounts stay.
func (c *Client) Close() error { return c.conn.Close() }

// Glusterfs mounts a volume at target. Where ctx ends first the service ends
// the half-made mount, and lets the next call for this target wait until it has.
func (c *Client) Glusterfs(ctx context.Context, src mount.Source, target string, flags mount.Flags) error {
	_, err := c.api.Glusterfs(ctx, &mountpb.GlusterfsRequest{Servers: src.Servers, Volume: src.Volume, Target: target, Flags: flags.Strings()})
	return c.fromStatus(ctx, "mount volume "+src.Volume, target, err)
}

// Bind shows source at target.
func (c *Client) Bind(ctx context.Context, source, target string, readOnly bool) error {
	_, err := c.api.Bind(ctx, &mountpb.BindRequest{Source: source, Target: target, ReadOnly: readOnly})
	return c.fromStatus(ctx, "bind "+source, target, err)
}

// Unmount ends the topmost mount at target.
func (c *Client) Unmount(ctx context.Context, target string) error {
	_, err := c.api.Unmount(ctx, &mountpb.UnmountRequest{Target: target})
	return c.fromStatus(ctx, "unmount", target, err)
}

// Mounts returns the mounts of the service's mount namespace that are below its directories.
func (c *Client) Mounts(ctx context.Context) ([]mount.Mount, error) {
	resp, err := c.api.Mounts(ctx, &mountpb.MountsRequest{})
	if err != nil {
		return nil, c.fromStatus(ctx, "read the mount table", "", err)
	}
	table := make([]mount.Mount, len(resp.GetMounts()))
	for i, m := range resp.GetMounts() {
		table[i] = fromMount(m)
	}
	return table, nil
}

// Usage returns the space of the mount at target.
func (c *Client) Usage(ctx context.Context, target string) (mount.Usage, error) {
	resp, err := c.api.Usage(ctx, &mountpb.UsageRequest{Target: target})
	if err != nil {
		return mount.Usage{}, c.fromStatus(ctx, "ask for the space", target, err)
	}
	return mount.Usage{
		Total: resp.GetTotal(), Free: resp.GetFree(), Available: resp.GetAvailable(), Files: resp.GetFiles(), FilesFree: resp.GetFilesFree(),
	}, nil
}

// Ready returns nil where the service runs and can mount.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.api.Ready(ctx, &mountpb.ReadyRequest{})
	return c.fromStatus(ctx, "get ready to mount Gluster volumes", "", err)
}
