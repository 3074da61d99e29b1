package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"bricklayer.csi/agent/agentpb"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/volume"
)

// Client is a storage node from afar. It connects at its first call and again
// whenever the connection was lost. It implements Node.
type Client struct {
	target Target
	creds  *clientCreds
	conn   *grpc.ClientConn
	stub   agentpb.AgentClient
}

var _ Node = (*Client)(nil)

// defaultDeadline bounds a call whose context has no deadline. The slowest verb
// is a gluster command, which gives up by itself before that.
const defaultDeadline = 3 * time.Minute

// Close ends the connection; calls that run fail.
func (c *Client) Close() error { return c.conn.Close() }

// Target returns the node that is called.
func (c *Client) Target() Target { return c.target }

// invoke makes one call: deadline, headers, and an error in our own terms.
func invoke[Req, Resp any](ctx context.Context, c *Client, op string,
	call func(context.Context, *Req, ...grpc.CallOption) (*Resp, error), req *Req,
) (*Resp, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultDeadline)
		defer cancel()
	}
	id := RequestID(ctx)
	if id == "" {
		id = rand.Text()
	}
	sent := new(atomic.Bool)
	ctx = context.WithValue(ctx, sentKey{}, sent)
	ctx = metadata.AppendToOutgoingContext(ctx, headerRequestID, id, headerProtocol, strconv.Itoa(Protocol))
	resp, err := call(ctx, req)
	if err != nil {
		return nil, c.failed(ctx, op, err, sent.Load())
	}
	return resp, nil
}

type sentKey struct{}

// sentWatch notes when a request's message goes out, which is the last that
// happens before gRPC waits for the answer. Until then the agent cannot have
// begun; from then on nobody knows without an answer.
type sentWatch struct{}

func (sentWatch) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (sentWatch) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); ok {
		if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
			sent.Store(true)
		}
	}
}

func (sentWatch) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (sentWatch) HandleConn(context.Context, stats.ConnStats) {}

// callError is a call that got no answer from the agent.
type callError struct {
	address string
	unsent  bool
	cause   error
}

// Error says whether the request was sent.
func (e *callError) Error() string {
	if e.unsent {
		return fmt.Sprintf("the request was not sent to %s: %v", e.address, e.cause)
	}
	return fmt.Sprintf("no answer came from %s, so the outcome is unknown: %v", e.address, e.cause)
}

// Unwrap returns the cause.
func (e *callError) Unwrap() error { return e.cause }

// Unsent reports whether the request certainly did not reach the agent.
func (e *callError) Unsent() bool { return e.unsent }

// failed turns what gRPC returned into an error of ours.
func (c *Client) failed(ctx context.Context, op string, err error, sent bool) error {
	s := status.Convert(err)
	for _, detail := range s.Details() {
		if f, ok := detail.(*agentpb.Failure); ok {
			return fromFailure(c.target.Node, f)
		}
	}
	e := &volume.Error{Op: op, On: "node " + c.target.Node}
	lost := func(cause error) error { return &callError{address: c.target.Address, unsent: !sent, cause: cause} }
	switch s.Code() {
	case codes.Unavailable:
		e.Kind, e.Err, e.Next = volume.Unavailable, lost(errors.New(s.Message())), "see whether the node is up and its agent runs"
		if refused := c.creds.lastRefusal(); refused != nil && !sent {
			e.Kind, e.Err, e.Next = volume.Denied, lost(refused), ""
		}
	case codes.DeadlineExceeded, codes.Canceled:
		cause := context.Cause(ctx)
		if cause == nil {
			cause = errors.New(s.Message())
		}
		e.Kind, e.Err, e.Next = volume.Unavailable, lost(cause), "repeat the call"
	case codes.Unimplemented:
		e.Kind, e.Err, e.Next = volume.Unsupported, errors.New("its agent does not know this call"), "upgrade the agent on that node"
	case codes.PermissionDenied, codes.Unauthenticated:
		e.Kind, e.Err = volume.Denied, errors.New(s.Message())
	default:
		e.Kind, e.Err = volume.Internal, fmt.Errorf("%s: %s", s.Code(), s.Message())
		if !sent { // it could not even be encoded, as a name that is not UTF-8 cannot
			e.Kind = volume.Invalid
		}
	}
	return e
}

// Describe implements Node.
func (c *Client) Describe(ctx context.Context) (Description, error) {
	r, err := invoke(ctx, c, "describe node", c.stub.Describe, &agentpb.DescribeRequest{})
	if err != nil {
		return Description{}, err
	}
	return descriptionFromPB(r), nil
}

// Bricks implements Node.
func (c *Client) Bricks(ctx context.Context, name string) ([]brick.Brick, error) {
	r, err := invoke(ctx, c, "list bricks", c.stub.Bricks, &agentpb.BricksRequest{Volume: name})
	return mapSlice(r.GetBricks(), brickFromPB), err
}

// MakeBrick implements Node.
func (c *Client) MakeBrick(ctx context.Context, req brick.MakeRequest) (brick.Brick, error) {
	r, err := invoke(ctx, c, "make brick", c.stub.MakeBrick, makeToPB(req))
	if err != nil {
		return brick.Brick{}, err
	}
	return brickFromPB(r.GetBrick()), nil
}

// RemoveBrick implements Node.
func (c *Client) RemoveBrick(ctx context.Context, req brick.RemoveRequest) error {
	_, err := invoke(ctx, c, "remove brick", c.stub.RemoveBrick, removeToPB(req))
	return err
}

// SetQuota implements Node.
func (c *Client) SetQuota(ctx context.Context, ref brick.Ref, q brick.Quota) (brick.Brick, error) {
	r, err := invoke(ctx, c, "set quota", c.stub.SetQuota, &agentpb.SetQuotaRequest{Ref: refToPB(ref), Quota: quotaToPB(q)})
	if err != nil {
		return brick.Brick{}, err
	}
	return brickFromPB(r.GetBrick()), nil
}

// InitRoot implements Node.
func (c *Client) InitRoot(ctx context.Context, root string) error {
	_, err := invoke(ctx, c, "make a brick root", c.stub.InitRoot, &agentpb.InitRootRequest{Root: root})
	return err
}

// SetPolicy implements Node.
func (c *Client) SetPolicy(ctx context.Context, p brick.Policy) error {
	_, err := invoke(ctx, c, "set policy", c.stub.SetPolicy, &agentpb.SetPolicyRequest{Policy: policyToPB(p)})
	return err
}

// CreateVolume implements Node.
func (c *Client) CreateVolume(ctx context.Context, req gluster.CreateRequest) error {
	_, err := invoke(ctx, c, "create volume", c.stub.CreateVolume, createToPB(req))
	return err
}

// StartVolume implements Node.
func (c *Client) StartVolume(ctx context.Context, name string) error {
	_, err := invoke(ctx, c, "start volume", c.stub.StartVolume, &agentpb.StartVolumeRequest{Name: name})
	return err
}

// StopVolume implements Node.
func (c *Client) StopVolume(ctx context.Context, name string) error {
	_, err := invoke(ctx, c, "stop volume", c.stub.StopVolume, &agentpb.StopVolumeRequest{Name: name})
	return err
}

// DeleteVolume implements Node.
func (c *Client) DeleteVolume(ctx context.Context, name string) error {
	_, err := invoke(ctx, c, "delete volume", c.stub.DeleteVolume, &agentpb.DeleteVolumeRequest{Name: name})
	return err
}

// SetOptions implements Node.
func (c *Client) SetOptions(ctx context.Context, name string, options []gluster.Option) error {
	_, err := invoke(ctx, c, "set options", c.stub.SetOptions, &agentpb.SetOptionsRequest{Name: name, Options: mapSlice(options, optionToPB)})
	return err
}

// Volume implements Node.
func (c *Client) Volume(ctx context.Context, name string) (gluster.Volume, error) {
	r, err := invoke(ctx, c, "find volume", c.stub.Volume, &agentpb.VolumeRequest{Name: name})
	if err != nil {
		return gluster.Volume{}, err
	}
	return volumeFromPB(r.GetVolume()), nil
}

// Volumes implements Node.
func (c *Client) Volumes(ctx context.Context) ([]gluster.Volume, error) {
	r, err := invoke(ctx, c, "list volumes", c.stub.Volumes, &agentpb.VolumesRequest{})
	return mapSlice(r.GetVolumes(), volumeFromPB), err
}

// VolumeStatus implements Node.
func (c *Client) VolumeStatus(ctx context.Context, name string) ([]gluster.BrickStatus, error) {
	r, err := invoke(ctx, c, "ask volume status", c.stub.VolumeStatus, &agentpb.VolumeStatusRequest{Name: name})
	return mapSlice(r.GetBricks(), statusFromPB), err
}

// HealInfo implements Node.
func (c *Client) HealInfo(ctx context.Context, name string) ([]gluster.BrickHeal, error) {
	r, err := invoke(ctx, c, "ask heal info", c.stub.HealInfo, &agentpb.HealInfoRequest{Name: name})
	return mapSlice(r.GetBricks(), healFromPB), err
}

// Peers implements Node.
func (c *Client) Peers(ctx context.Context) ([]gluster.Peer, error) {
	r, err := invoke(ctx, c, "list peers", c.stub.Peers, &agentpb.PeersRequest{})
	return mapSlice(r.GetPeers(), peerFromPB), err
}

// ProbePeer implements Node.
func (c *Client) ProbePeer(ctx context.Context, host string) error {
	_, err := invoke(ctx, c, "probe peer", c.stub.ProbePeer, &agentpb.ProbePeerRequest{Host: host})
	return err
}
